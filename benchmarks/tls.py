"""What TLS costs: runs with the keys of the run and runs with --no-tls, in turn, on this machine.

    .venv-mpich/bin/python benchmarks/tls.py --rounds 5

For both: seconds from mpirun to the first result; milliseconds for a connection to the scheduler; seconds for a
further client; tasks per second of small tasks; megabytes per second of an array that one worker fetches from another.
Prints medians with their ratios, writes benchmarks/results/tls.json. All ranks are on this machine: a network slower
than loopback makes the ratios smaller. Refuses to measure on a machine that is busy with something else.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from harness import MPI, SETTINGS  # noqa: E402

TIMEOUT = 300.0  # s
BUSY = 1.5  # processes that want to run, in the mean of the last minute
VARIANTS = {"TLS": [], "--no-tls": ["--no-tls"]}

#: Prints what it has measured as JSON; the time at which mpirun was started is its argument.
SCRIPT = """
import asyncio, json, statistics, sys, time
import numpy as np
from distributed import Client, wait
from distributed.comm import connect
from distributed.security import Security

def array(size):
    return np.random.default_rng(1).integers(0, 256, size, dtype=np.uint8)

def increment(number):
    return number + 1

def seconds(function):
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin

def fetch(client, here, there, size):
    "Return the MB/s at which a worker gets an array from another; what a task costs anyway is left out."
    made = client.submit(array, size, workers=[here], pure=False)
    wait(made)
    took = seconds(lambda: client.submit(len, made, workers=[there], pure=False).result())
    bare = seconds(lambda: client.submit(len, "", workers=[there], pure=False).result())
    return size / 1e6 / max(took - bare, 1e-6)

async def connections(address, number):
    arguments = (client.security or Security()).get_connection_args("client")
    async def one():
        comm = await connect(address, **arguments)
        await comm.close()
    begin = time.perf_counter()
    for _ in range(number):
        await one()
    return (time.perf_counter() - begin) / number * 1e3

def further(client):
    with Client(client.scheduler.address, set_as_default=False):
        pass

client = Client()
assert client.submit(sum, [1, 2]).result() == 3
first = time.time() - float(sys.argv[1])
here, there = sorted(client.scheduler_info(n_workers=-1)["workers"])
client.gather(client.map(increment, range(200), pure=False))
fetch(client, here, there, 1_000_000)  # the workers know each other from here on
small, large = 10_000_000, 100_000_000
print(json.dumps({
    "first result, s": first,
    "connection, ms": asyncio.run(connections(client.scheduler.address, 100)),
    "further client, s": statistics.median(seconds(lambda: further(client)) for _ in range(5)),
    "small tasks, /s": 2000 / statistics.median(
        seconds(lambda: client.gather(client.map(increment, range(2000), pure=False))) for _ in range(3)
    ),
    "worker to worker, 10 MB, MB/s": statistics.median(fetch(client, here, there, small) for _ in range(15)),
    "worker to worker, 100 MB, MB/s": statistics.median(fetch(client, here, there, large) for _ in range(7)),
}))
"""


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--busy", action="store_true", help="measure whatever else the machine does")
    given = parser.parse_args()
    results: dict[str, list[dict[str, float]]] = {name: [] for name in VARIANTS}
    load = os.getloadavg()[0]
    if load > BUSY and not given.busy:
        sys.exit(f"the load is {load:.1f}, more than {BUSY}: wait, or insist with --busy")
    for number in range(given.rounds):
        for name in sorted(VARIANTS, reverse=bool(number % 2)):  # neither is always the first
            results[name].append(measure(VARIANTS[name]))
    medians = {
        name: {key: statistics.median(row[key] for row in rows) for key in rows[0]} for name, rows in results.items()
    }
    show(medians)
    target = ROOT / "benchmarks" / "results" / "tls.json"
    about = {"mpi": MPI.name, "cores": os.cpu_count(), "processor": platform.machine(), "load before": load}
    target.write_text(json.dumps({**about, "rounds": results, "medians": medians}, indent=2) + "\n")


def measure(options: list[str]) -> dict[str, float]:
    """Run the script once on four ranks: two workers; return what it prints."""
    with tempfile.TemporaryDirectory(prefix="mpidask-benchmark-") as place:
        (Path(place) / "script.py").write_text(SCRIPT)
        words = [MPI.mpirun, "-n", "4", sys.executable, "-m", "mpidask", "--no-dashboard", "--nthreads", "1", *options]
        done = subprocess.run(
            [*words, "script.py", str(time.time())],
            cwd=place,
            env={**os.environ, **SETTINGS},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    if done.returncode != 0:
        sys.exit(f"status {done.returncode}\n{done.stdout}\n{done.stderr[-3000:]}")
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def show(medians: dict[str, dict[str, float]]) -> None:
    """Print a table; the ratio is how many times less TLS does, or how many times longer it takes."""
    print(f"{f'{MPI.name}, 2 workers':34}" + "".join(f"{name:>12}" for name in medians) + f"{'ratio':>8}")
    for key in medians["TLS"]:
        with_tls, without = medians["TLS"][key], medians["--no-tls"][key]
        ratio = without / with_tls if key.endswith("/s") else with_tls / without
        print(f"{key:34}{with_tls:12.3g}{without:12.3g}{ratio:8.2f}")


if __name__ == "__main__":
    main()
