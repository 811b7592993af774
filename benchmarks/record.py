"""What the record of a run costs: many short tasks, with and without it, in turns.

::

    python benchmarks/record.py [--rounds 5] [--tasks 20000] [--output FILE]

Prints the median of both, and their ratio. To be run where nothing else runs, with mpidask installed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from runs import SETTINGS

SCRIPT = """
import os, sys, time
from distributed import Client
client = Client()
def add(number):
    return number + 1
def once(tasks):
    client.gather(client.map(add, range(tasks), pure=False))
once(1000)
begun, used = time.monotonic(), time.process_time()
once(int(sys.argv[1]))
print(time.monotonic() - begun)
"""


def measure(mpirun: Path, directory: Path, tasks: int, words: list[str]) -> float:
    """Return how many s the tasks of one run take."""
    import os

    (directory / "script.py").write_text(SCRIPT)
    command = [str(mpirun), "-n", "4", sys.executable, "-m", "mpidask", "--quiet", *words, "script.py", str(tasks)]
    done = subprocess.run(
        command, cwd=directory, env={**os.environ, **SETTINGS}, capture_output=True, text=True, check=True, timeout=600
    )
    return float(done.stdout)


def main() -> None:
    """Measure in turns, so that what else the machine does counts for both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    ways = {"without": ["--no-report"], "with": ["--report", "kept"]}
    found: dict[str, list[float]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as directory:
        for number in range(given.rounds):
            for name in sorted(ways, reverse=bool(number % 2)):
                mpirun = Path(sys.executable).with_name("mpirun")
                found[name].append(measure(mpirun, Path(directory), given.tasks, ways[name]))
    medians = {name: statistics.median(times) for name, times in found.items()}
    result = {"tasks": given.tasks, "seconds": found, **medians, "ratio": medians["with"] / medians["without"]}
    if given.output:
        given.output.write_text(json.dumps(result, indent=2) + "\n")
    print(f"{medians['with']:.2f} s with, {medians['without']:.2f} s without: {result['ratio']:.4f}")


if __name__ == "__main__":
    main()
