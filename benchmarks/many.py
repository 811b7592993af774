"""As many real workers as one machine holds, on simulated nodes: registered, 100,000 tasks, a clean end.

    .venv-mpich/bin/python benchmarks/many.py --workers 1 8 64 256 600

Each worker is a process of its own with its nanny in the agent of its node, connected with TLS. Nodes are network
namespaces (tests/nodes.py; root and iproute2): each has a rank that hosts its workers; the first has two more, for the
scheduler and for the script. Everything runs on this machine's cores. So times are those of the machine, and what a
scheduler takes is counted by the CPU seconds of its process: it is one thread.

Measured: seconds and CPU seconds until all are registered, and memory; the scheduler's CPU and the rate while tasks
that do nothing are computed; how long it takes to answer meanwhile, asked by another process; heartbeats that it takes,
while all workers send them one after another; from the script's last line to mpirun's end. A run fails if a worker is
missing at the end of the tasks or a process is left. Writes benchmarks/results/many.json after each size. With less
memory available than --least-memory a run is given up.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from runs import ROOT, Python, Run, RunError, Started, cpu, marked, memory, started

# isort: split
from nodes import Nodes, nodes

RESULT = ROOT / "benchmarks" / "results" / "many.json"
NODES = 8

#: All nodes share this machine's cores, but each starts as many workers at a time as if it had them to itself. A worker
#: then waits for longer than a connection may take by default, and all of them for longer than a start may.
PATIENCE = {f"DASK_DISTRIBUTED__COMM__TIMEOUTS__{name}": "300s" for name in ("CONNECT", "TCP")}
STARTUP = 900  # s

SCRIPT = """
import json, os, subprocess, sys, time
from dask.distributed import Client, wait

def reached(name, value):
    with open(name + ".part", "w") as file:
        json.dump({"at": time.time(), **value}, file)
    os.rename(name + ".part", name)
    while not os.path.exists(name + ".go"):
        time.sleep(0.02)

def used(dask_scheduler):
    return time.process_time()

def nothing(number):
    return number

async def flood(dask_worker):
    end, sent = time.monotonic() + SECONDS, 0
    while time.monotonic() < end:
        await dask_worker.heartbeat()
        sent += 1
    return sent

workers, tasks, SECONDS = int(sys.argv[1]), int(sys.argv[2]), 10.0
client = Client()
client.wait_for_workers(workers)
reached("registered", {"scheduler": client.run_on_scheduler(used)})
probe = subprocess.Popen([sys.executable, "probe.py", "scheduler.json"])
time.sleep(3)  # for the probe to connect
before, begun = client.run_on_scheduler(used), time.monotonic()
wait(client.map(nothing, range(tasks)))
about = {"tasks": time.monotonic() - begun, "tasks CPU": client.run_on_scheduler(used) - before}
open("probe.go", "w").close()
probe.wait()
before, begun = client.run_on_scheduler(used), time.monotonic()
about["heartbeats"] = sum(client.run(flood).values())
about |= {"flood": time.monotonic() - begun, "flood CPU": client.run_on_scheduler(used) - before}
about["there"] = len(client.scheduler_info(n_workers=-1)["workers"])
reached("computed", about)
with open("last", "w") as file:
    file.write(str(time.time()))
"""

#: Asks the scheduler 20 times a second how it is, in a process of its own.
PROBE = """
import json, os, sys, time
import mpidask
with mpidask.connect(sys.argv[1]) as client:
    answers = []
    while not os.path.exists("probe.go"):
        begun = time.monotonic()
        client.run_on_scheduler(os.getpid)
        answers.append(time.monotonic() - begun)
        time.sleep(0.05)
with open("answers", "w") as file:
    json.dump(sorted(answers), file)
"""


def words(python: Python, made: Nodes, workers: int, tasks: int) -> list[str]:
    """Return the command of a run."""
    used = min(workers, NODES)
    made.addresses = made.addresses[:used]
    hosts = made.mpirun_words(mpich=python.mpi == "MPICH", each=1, more=2)
    serve = ["-m", "mpidask", "--no-dashboard", "--nthreads", "1", "--memory-limit", "0"]
    serve += ["--startup-timeout", str(STARTUP)]
    serve += ["--workers-per-rank", str(workers // used), "--exclusive-workers", "--scheduler-file", "scheduler.json"]
    ranks = [python.mpirun, *hosts, "-n", str(used + 2), python.path]
    return [*ranks, *serve, "script.py", str(workers // used * used), str(tasks)]


def available() -> int:
    """Return how many bytes of memory are available on the machine."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))


def guard(it: Started, least: float, over: threading.Event) -> None:
    """End a run for which there is too little memory."""
    while not over.wait(1.0):
        if available() < least * 2**30:
            it.process.terminate()
            return


def told(it: Started, name: str) -> dict[str, Any]:
    """Wait until the script has come to a point; return what it has said there."""
    deadline = time.monotonic() + it.run.timeout
    while not (it.directory / name).exists():
        if it.process.poll() is not None or time.monotonic() > deadline:
            raise RunError(f"{name} was not reached:\n{it.said()}")
        time.sleep(0.02)
    said: dict[str, Any] = json.loads((it.directory / name).read_text())
    return said


def measure(run: Run, tasks: int, least: float) -> dict[str, float]:
    """Run it; return what it took. Raises RunError."""
    over = threading.Event()
    with started(run) as it:
        (it.directory / "probe.py").write_text(PROBE)
        threading.Thread(target=guard, args=(it, least, over), daemon=True).start()
        try:
            registered = told(it, "registered")
            pids = marked(it.mark)
            row = {
                "all registered, s": registered["at"] - it.begin,
                "CPU to registered, s": cpu(pids),
                "scheduler's CPU to registered, s": registered["scheduler"],
                "PSS of all, GB": memory(pids)[0] / 1e9,
            }
            it.go("registered")
            row |= summary(told(it, "computed"), json.loads((it.directory / "answers").read_text()), run.workers, tasks)
            it.go("computed")
            end = it.end()
            row["teardown, s"] = end - float((it.directory / "last").read_text())
            time.sleep(1.0)
            row["processes left"] = len(marked(it.mark))
        finally:
            over.set()
    if row["processes left"]:
        raise RunError(f"{row['processes left']} processes are left")
    return row


def summary(said: dict[str, float], answers: list[float], workers: int, tasks: int) -> dict[str, float]:
    """Return the figures of tasks and heartbeats; raises RunError if workers are missing."""
    if said["there"] != workers:
        raise RunError(f"{said['there']} of {workers} workers are there after the tasks")
    return {
        "tasks, s": said["tasks"],
        "tasks per s": tasks / said["tasks"],
        "tasks per s of the scheduler's CPU": tasks / said["tasks CPU"],
        "answer during tasks, median, ms": 1e3 * answers[len(answers) // 2],
        "answer during tasks, longest, ms": 1e3 * answers[-1],
        "heartbeats per s": said["heartbeats"] / said["flood"],
        "heartbeats per s of the scheduler's CPU": said["heartbeats"] / said["flood CPU"],
    }


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 8, 64, 256, 600])
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--least-memory", type=float, default=2.0, help="GiB that have to stay available")
    parser.add_argument("--timeout", type=float, default=1800.0, help="s for each step of a run")
    given = parser.parse_args()
    python = Python.at(sys.executable)
    rows = json.loads(RESULT.read_text())["workers"] if RESULT.exists() else {}
    for workers in given.workers:
        with tempfile.TemporaryDirectory(prefix="mpidask-many-") as directory, nodes(Path(directory), NODES) as made:
            number = workers // min(workers, NODES) * min(workers, NODES)
            command = words(python, made, number, given.tasks)
            load = os.getloadavg()[0]
            run = Run(Path(directory), SCRIPT, command, number, PATIENCE, [], given.timeout)
            rows[str(number)] = {**measure(run, given.tasks, given.least_memory), "load before": load}
        for key, value in rows[str(number)].items():
            print(f"{number:5} workers  {key:42}{value:12.2f}", flush=True)
        about = {"mpi": python.mpi, "cores": os.cpu_count(), "nodes": NODES, "tasks": given.tasks}
        RESULT.write_text(json.dumps({**about, "versions": python.versions, "workers": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
