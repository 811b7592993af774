"""What the record of a run costs: many short tasks in one run, with and without the record, in turns.

::

    python benchmarks/record.py [--seconds 150] [--tasks 4000] [--output FILE]

The cluster stays the same: the record is switched on and off between blocks of tasks, so that what starts and what
else the machine does count for both. Prints what blocks with the record take, as parts of what those without it take:
processor time of the scheduler's process, of the workers', of both together, and wall time. These need a machine on
which nothing else runs. On a busy one the last lines still count: the processor time of the record's own functions,
as parts of all that their processes used in the same time. The larger heartbeats are not in them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from runs import SETTINGS

SCRIPT = """
import json, os, sys, time
from distributed import Client
from mpidask.report import record
from mpidask.report.measures import METRIC, WorkerMeasures
from mpidask.report.recorder import Recorder

def add(number):
    return number + 1

def timed(owner, *names, spent):
    def around(function):
        def call(*args, **given):
            begin = time.thread_time()
            try:
                return function(*args, **given)
            finally:
                spent.append(time.thread_time() - begin)
        return call
    for name in names:
        setattr(owner, name, around(getattr(owner, name)))

def start(dask_scheduler, path):
    threads = sum(worker.nthreads for worker in dask_scheduler.workers.values())
    dask_scheduler.measured = recorder = Recorder(path, {"t": time.time(), "version": 1, "threads": threads})
    dask_scheduler.spent = []
    timed(recorder, "_look", "_sample", "_totals", spent=dask_scheduler.spent)
    recorder.written, record.append = record.append, record.append
    timed(record, "append", spent=dask_scheduler.spent)  # in a thread
    recorder.start(dask_scheduler)

def stop(dask_scheduler):
    record.append = dask_scheduler.measured.written
    dask_scheduler.measured.close()

def measure(dask_worker):
    dask_worker.plugins[WorkerMeasures.name] = plugin = WorkerMeasures()
    dask_worker.spent = []
    timed(plugin, "report", "transition", spent=dask_worker.spent)
    plugin.setup(dask_worker)

def forget(dask_worker):
    del dask_worker.plugins[WorkerMeasures.name], dask_worker.metrics[METRIC]

def spent(dask_scheduler=None, dask_worker=None):
    return sum((dask_worker if dask_scheduler is None else dask_scheduler).spent)

def used():
    workers = sum(client.run(time.process_time).values())
    return client.run_on_scheduler(time.process_time), workers, time.monotonic()

def block(tasks):
    before = used()
    client.gather(client.map(add, range(tasks), pure=False))
    return [after - since for after, since in zip(used(), before)]

def with_record(number):
    client.run(measure)
    client.run_on_scheduler(start, path=f"{os.getcwd()}/{number}.jsonl")
    found = block(tasks)
    found += [client.run_on_scheduler(spent), sum(client.run(spent).values())]
    client.run_on_scheduler(stop)
    client.run(forget)
    return found

client, (seconds, tasks) = Client(), map(int, sys.argv[1:])
block(tasks)  # the first one is slower
found, end = [], time.monotonic() + seconds
while len(found) < 4 or time.monotonic() < end:
    without = block(tasks) if len(found) % 2 else None
    having = with_record(len(found))
    found.append({"with": having, "without": without or block(tasks)})
print(json.dumps(found))
"""

MEASURED = ("scheduler's processor time", "workers' processor time", "wall time")


def measure(seconds: int, tasks: int) -> list[dict[str, list[float]]]:
    """Return for each pair of blocks what both took, in the order of `MEASURED`."""
    mpirun = Path(sys.executable).with_name("mpirun")
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "script.py").write_text(SCRIPT)
        words = ["--quiet", "--no-report", "script.py", str(seconds), str(tasks)]
        done = subprocess.run(
            [str(mpirun), "-n", "4", sys.executable, "-m", "mpidask", *words],
            cwd=directory,
            env={**os.environ, **SETTINGS},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=600,
        )
    return json.loads(done.stdout)


def figures(found: list[dict[str, list[float]]]) -> dict[str, list[tuple[float, float]]]:
    """Return what was measured -> for each pair (with, without)."""
    pairs = {name: [(one["with"][i], one["without"][i]) for one in found] for i, name in enumerate(MEASURED)}
    both = [(one["with"][0] + one["with"][1], one["without"][0] + one["without"][1]) for one in found]
    return {**pairs, "processor time of both": both}


def main() -> None:
    """Measure, and print ratios: the median over the pairs, and the range in which half of them are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=150, help="for which pairs of blocks are begun, four at least")
    parser.add_argument("--tasks", type=int, default=4000)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    found = measure(given.seconds, given.tasks)
    if given.output:
        given.output.write_text(json.dumps({"tasks": given.tasks, "pairs": found}, indent=1) + "\n")
    print(f"{len(found)} pairs of blocks of {given.tasks} tasks; medians with and without the record, and their ratio")
    for name, pairs in figures(found).items():
        ratios = [one / other for one, other in pairs]
        low, middle, high = statistics.quantiles(ratios, n=4)
        having, without = (statistics.median(each) for each in zip(*pairs, strict=True))
        print(f"{name:27} {having:7.3f} s {without:7.3f} s  {middle:.3f} (half of the pairs {low:.3f} to {high:.3f})")
    for index, who in enumerate(("the scheduler's process", "the workers' processes")):
        share = sum(one["with"][3 + index] for one in found) / sum(one["with"][index] for one in found)
        print(f"the record's own functions: {100 * share:.2f} % of the processor time of {who}")


if __name__ == "__main__":
    main()
