"""What it costs to start and end: mpidask beside dask-mpi and LocalCluster, in one run, variants in turn.

    .venv-mpich/bin/python benchmarks/startup.py --rounds 3
    .venv-mpich/bin/python benchmarks/startup.py --modes plain no-pyc slow --workers 32

Takes the interpreters of the checkout that are there, .venv-mpich and .venv-openmpi, or those of --python. Each round
runs all variants in turn, with each number of workers, in each mode:

    plain    as it is
    no-pyc   no byte code is there, and none is written
    slow     files of the interpreters, of the environments and beside the script are on an emulated file server, which
             takes 0.2 ms for one operation (open, stat, readlink, ...), one after the other for all processes, and
             0.3 ms for the way; what the dynamic linker opens goes past it (slow.c, compiled with gcc)

Measured: seconds to all workers registered, to the first result, and from the script's last line to the launcher's end;
CPU seconds of all processes; their memory when nothing is to be done, per worker; with strace, in a run of its own, the
operations on those files, from start to end, per worker. Scheduler, client and launchers count in all of it. dask-mpi
is installed into a place of its own. All have one thread per worker, no memory limit and no dashboard; mpidask has TLS.

Prints medians and their ratios to each of the peers, and the targets; writes benchmarks/results/startup.json (after
each round), startup.md and startup.png. With --add to what is there: variants are compared with those of their own mode
and number of workers, which are always measured in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import report
from runs import BODY, ROOT, Python, Run, RunError, measure, operations

RESULTS = ROOT / "benchmarks" / "results"
MOST_RANKS = 32  # workers with a rank each; above that only those that share one
OPERATIONS = "file operations per worker"
PEER = "dask-mpi==2026.3.0"

MPIDASK = BODY + "measured(Client(), int(sys.argv[1]))\n"
DASK_MPI = (
    BODY
    + """
if __name__ == "__main__":  # a nanny's worker imports the script again
    sys.path.append(os.environ["PEER"])  # at the end, where it makes no import slower
    import dask_mpi
    dask_mpi.initialize(nthreads=1, memory_limit=0, dashboard=False, worker_class=sys.argv[2])
    measured(Client(), int(sys.argv[1]))
"""
)
LOCAL = (
    BODY
    + """
if __name__ == "__main__":
    from dask.distributed import LocalCluster
    options = {"n_workers": int(sys.argv[1]), "threads_per_worker": 1, "memory_limit": 0, "dashboard_address": None}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        measured(client, int(sys.argv[1]))
"""
)


def variants(python: Python, workers: int, cache: Path, most: int = MOST_RANKS) -> Iterator[tuple[str, str, list[str]]]:
    """Yield name, script and command of what there is for so many workers besides scheduler and client.

    most: workers above which there are only variants whose workers share a rank
    """
    number = str(workers)
    serve = [python.path, "-m", "mpidask", "--no-dashboard", "--nthreads", "1", "--memory-limit", "0"]
    agent = ["--workers-per-rank", number, "--exclusive-workers"]
    three = [python.mpirun, "-n", "3"]
    script, cached = ["script.py", number], f"--import-cache={cache}"
    yield report.AGENT, MPIDASK, [*three, *serve, *agent, *script]
    yield "mpidask, agent, import cache", MPIDASK, [*three, *serve, *agent, cached, *script]
    yield "mpidask, one process", MPIDASK, [*serve, "--workers-per-rank", number, *script]
    if workers > most:
        return
    ranks = [python.mpirun, "-n", str(workers + 2)]
    yield "mpidask", MPIDASK, [*ranks, *serve, *script]
    yield "mpidask, import cache", MPIDASK, [*ranks, *serve, cached, *script]
    yield "mpidask, no nanny", MPIDASK, [*ranks, *serve, "--no-nanny", *script]
    yield report.NANNY, DASK_MPI, [*ranks, python.path, *script, "distributed.Nanny"]
    yield report.WORKER, DASK_MPI, [*ranks, python.path, *script, "distributed.Worker"]
    yield report.LOCAL, LOCAL, [python.path, *script]


class Benchmark:
    """Runs with their figures: MPI -> mode -> number of workers -> variant -> rows."""

    def __init__(self, given: argparse.Namespace, place: Path) -> None:
        self._given, self._place = given, place
        self.pythons = [Python.at(path) for path in given.python]
        self._peer = install_peer(place)
        self._empty = place / "no-byte-code"
        self._empty.mkdir()
        self.results: dict[str, dict[str, dict[str, dict[str, list[dict[str, float]]]]]] = {}
        self.failures: list[str] = []
        self.versions = {python.mpi: dict(python.versions) for python in self.pythons}

    def add_to(self, told: Mapping[str, Any]) -> None:
        """Keep the figures of earlier runs, as `save` has written them."""
        self.results = told["rounds"]
        self.versions = {**told["versions"], **self.versions}

    def warm_up(self) -> None:
        """Have import caches made and files in the page cache."""
        for python in self.pythons:
            for mode in self._given.modes:
                for name, script, command in variants(python, 1, self._cache(python, mode)):
                    run = Run(**self._common(python, mode, script, command, 1))
                    self._attempt(python, f"{mode}, warming up, {name}", measure, run)

    def round(self) -> None:
        """Measure each variant once."""
        for python, mode, workers, name, run in self._runs():
            row = self._attempt(python, f"{mode}, {workers} workers, {name}", measure, run)
            if row is not None:
                self._rows(python, mode, workers, name).append(row)

    def count(self) -> None:
        """Count operations on files, once for each variant: the count hardly varies."""
        for python, mode, workers, name, run in self._runs():
            rows = self._rows(python, mode, workers, name)
            if mode != "plain" or workers not in self._given.strace or not rows:
                continue
            count = self._attempt(python, f"{mode}, {workers} workers, {name}, operations", operations, run)
            if count is not None:
                for row in rows:
                    row[OPERATIONS] = count

    def _runs(self) -> Iterator[tuple[Python, str, int, str, Run]]:
        for workers in self._given.workers:
            for mode in self._given.modes:
                for python in self.pythons:
                    for name, script, command in variants(python, workers, self._cache(python, mode)):
                        yield python, mode, workers, name, Run(**self._common(python, mode, script, command, workers))

    def _rows(self, python: Python, mode: str, workers: int, name: str) -> list[dict[str, float]]:
        modes = self.results.setdefault(python.mpi, {}).setdefault(mode, {})
        return modes.setdefault(str(workers), {}).setdefault(name, [])

    def _cache(self, python: Python, mode: str) -> Path:
        return self._place / f"import-cache-{python.mpi.replace(' ', '')}-{mode}"

    def _common(self, python: Python, mode: str, script: str, command: list[str], workers: int) -> dict[str, Any]:
        shared = [*python.prefixes, str(self._peer), str(self._empty)]
        return {
            "place": self._place,
            "script": script,
            "command": command,
            "workers": workers,
            "environ": {"PEER": str(self._peer), **self._environ(mode, shared)},
            "shared": shared,
            "timeout": self._given.timeout,
        }

    def _environ(self, mode: str, shared: list[str]) -> Mapping[str, str]:
        if mode == "no-pyc":
            return {"PYTHONPYCACHEPREFIX": str(self._empty), "PYTHONDONTWRITEBYTECODE": "1"}
        if mode == "slow":
            clock = self._place / "clock"
            clock.write_bytes(bytes(8))
            times = {"SLOW_LATENCY": "300000", "SLOW_SERVICE": "200000"}  # ns
            paths = ":".join([*shared, str(self._place)])
            return {"LD_PRELOAD": str(slow(self._place)), "SLOW_CLOCK": str(clock), "SLOW_PATHS": paths, **times}
        return {}

    def _attempt(self, python: Python, name: str, function: Any, run: Run) -> Any:
        """Return what a run gives, None if it fails, which is noted."""
        begin = time.monotonic()
        try:
            return function(run)
        except RunError as error:
            self.failures.append(f"{python.mpi}, {name}: {error}")
            sys.stderr.write(f"failed: {self.failures[-1]}\n")
            return None
        finally:
            sys.stderr.write(f"{time.monotonic() - begin:6.1f} s  {python.mpi}, {name}\n")


def install_peer(place: Path) -> Path:
    """Install dask-mpi; return where."""
    peer = place / "peer"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(peer)]
    subprocess.run([*pip, PEER], check=True)
    return peer


def slow(place: Path) -> Path:
    """Return the library that makes files slow, compiled once."""
    library = place / "slow.so"
    if not library.exists():
        source = Path(__file__).with_name("slow.c")
        compiler = shutil.which("gcc") or sys.exit("--modes slow needs gcc: apt-get install gcc libc6-dev")
        subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(source), "-ldl"], check=True)
    return library


def save(benchmark: Benchmark, medians: Any) -> None:
    """Write all figures."""
    RESULTS.mkdir(exist_ok=True)
    host = {"cores": os.cpu_count(), "kernel": platform.release(), "load": os.getloadavg()}
    told = {"machine": host, "versions": benchmark.versions, "peer": PEER, "failures": benchmark.failures}
    text = json.dumps({**told, "medians": medians, "rounds": benchmark.results}, indent=1)
    (RESULTS / "startup.json").write_text(text + "\n")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[4, 8, 16, 32, 64])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--modes", nargs="+", default=["plain"], choices=["plain", "no-pyc", "slow"])
    there = [str(each) for each in sorted(ROOT.glob(".venv-*/bin/python")) if each.parts[-3] in report.ENVIRONMENTS]
    parser.add_argument("--python", nargs="+", default=there, help="interpreters; default: the checkout's")
    parser.add_argument("--strace", type=int, nargs="*", default=[32], help="workers with which operations are counted")
    parser.add_argument("--add", action="store_true", help="keep the figures that are there")
    parser.add_argument("--timeout", type=float, default=600.0, help="s for each step of a run")
    given = parser.parse_args()
    given.python = [os.path.abspath(each) for each in given.python]
    if not given.python:
        parser.error("there is no .venv-mpich and no .venv-openmpi: ./do test makes them, or name one with --python")
    return given


def main() -> None:
    """Measure, print, save."""
    given = arguments()
    with tempfile.TemporaryDirectory(prefix="mpidask-benchmark-") as place:
        benchmark = Benchmark(given, Path(place))
        if given.add:
            benchmark.add_to(json.loads((RESULTS / "startup.json").read_text()))
        benchmark.warm_up()
        if not benchmark.failures:
            for number in range(given.rounds):
                sys.stderr.write(f"round {number + 1} of {given.rounds}\n")
                benchmark.round()
                save(benchmark, report.medians(benchmark.results))
            benchmark.count()
    medians = report.medians(benchmark.results)
    save(benchmark, medians)
    report.show(medians)
    report.plot(medians, RESULTS / "startup.png")
    text = report.targets(medians)
    (RESULTS / "startup.md").write_text(text)
    print(text)
    if benchmark.failures:
        sys.exit(f"{len(benchmark.failures)} runs failed")


if __name__ == "__main__":
    main()
