"""As many real workers as one machine holds: hosted by one rank of mpidask; beside it dask-mpi with as many as it can.

    .venv-mpich/bin/python benchmarks/many.py --workers 256 --peer-workers 64

Prints seconds to all workers registered, to the first result and from the script's last line to the launcher's end; CPU
seconds; memory of all processes; with it the machine's limits. mpidask is measured with both numbers of workers, so
that one of them compares with dask-mpi. Settings are those of startup.py.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
from pathlib import Path

import report
from runs import Python, Run, RunError, measure
from startup import install_peer, variants


def limits() -> None:
    """Print what bounds the number of workers on this machine."""
    for name, number in (("open files", resource.RLIMIT_NOFILE), ("processes", resource.RLIMIT_NPROC)):
        soft, hard = resource.getrlimit(number)
        print(f"limit on {name}: {soft} (at most {hard})")
    for name in ("threads-max", "pid_max"):
        print(f"kernel.{name}: {(Path('/proc/sys/kernel') / name).read_text().strip()}")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    print(f"memory: {memory / 1e9:.1f} GB, cores: {os.cpu_count()}\n")


def run(place: Path, python: Python, name: str, workers: int, timeout: float) -> None:
    """Measure a variant and print what it took."""
    each = {name: rest for name, *rest in variants(python, workers, place, most=workers)}
    script, command = each[name]
    peer = {"PEER": str(place / "peer")}
    print(f"{python.mpi}, {name}, {workers} workers")
    try:
        row = measure(Run(place, script, command, workers, peer, [], timeout))
    except RunError as error:
        print(f"  failed: {error}\n")
        return
    for key, value in row.items():
        print(f"  {key:34}{value:10.2f}")
    print(f"  {'PSS of all, GB':34}{row['PSS per worker, MB'] * workers / 1e3:10.2f}")
    for key in ("CPU to registered, s", "CPU in all, s"):
        print(f"  {key.replace(', s', ' per worker, ms'):34}{1e3 * row[key] / workers:10.0f}")
    print(flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=256)
    parser.add_argument("--peer-workers", type=int, default=64, help="with dask-mpi; 0: without it")
    parser.add_argument("--timeout", type=float, default=900.0, help="s for each step of a run")
    given = parser.parse_args()
    limits()
    python = Python.at(sys.executable)
    with tempfile.TemporaryDirectory(prefix="mpidask-benchmark-") as directory:
        place = Path(directory)
        run(place, python, report.AGENT, given.workers, given.timeout)
        if given.peer_workers:
            install_peer(place)
            run(place, python, report.AGENT, given.peer_workers, given.timeout)
            run(place, python, report.NANNY, given.peer_workers, given.timeout)


if __name__ == "__main__":
    main()
