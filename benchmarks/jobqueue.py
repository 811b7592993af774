"""How many batch commands, and how long, for `scale(jobs=N)`: mpidask beside dask-jobqueue, in one run on a real Slurm.

    sudo .venv-mpich/bin/python benchmarks/jobqueue.py --jobs 100 --rounds 3

Slurm is installed and started by the scripts of the tests, with four simulated nodes; jobs are submitted by an ordinary
user, held, so that what is measured is submitting and cancelling. dask-jobqueue is installed into a place of its own.
Prints a table, writes benchmarks/results/jobqueue.json. Rounds of the two alternate; medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import machines  # noqa: E402

COMMANDS = ("sbatch", "scancel", "squeue")

#: Run by the user: scale up, wait until the queue holds all jobs, close, wait until it is empty.
PROGRAM = """
import json, subprocess, sys, time
import dask
who, jobs = sys.argv[1], int(sys.argv[2])
if who == "mpidask":
    from mpidask import SLURMCluster
else:
    sys.path.insert(0, sys.argv[3])
    from dask_jobqueue import SLURMCluster
def queued():
    listed = subprocess.run(["/usr/bin/squeue", "--noheader", "--array", "--me"], capture_output=True, text=True)
    return len(listed.stdout.splitlines())
def until(number):
    while queued() != number:
        time.sleep(0.1)
cluster = SLURMCluster(cores=1, processes=1, memory="100MB", walltime="00:10:00", job_extra_directives=["--hold"],
                       scheduler_options={"dashboard_address": None, "dashboard": False})
begin = time.monotonic()
cluster.scale(jobs=jobs)
until(jobs)
scaled = time.monotonic() - begin
begin = time.monotonic()
cluster.close()
until(0)
print(json.dumps({"submitting, s": scaled, "closing, s": time.monotonic() - begin}))
"""


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    results: dict[str, list[dict[str, float]]] = {"mpidask": [], "dask-jobqueue": []}
    try:
        with machines.borrowed("slurm") as machine:
            peer = machine.directory / "peer"
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(peer)]
            subprocess.run([*pip, "dask-jobqueue==0.9.0"], check=True)
            machine.file("program.py", PROGRAM)
            _count_commands(machine)
            for _ in range(given.rounds):
                for who, measured in results.items():
                    measured.append(_measure(machine, who, given.jobs, peer))
    finally:
        machines.shut_down()
    medians = {
        who: {key: statistics.median(each[key] for each in rows) for key in rows[0]} for who, rows in results.items()
    }
    _show(medians, given.jobs)
    target = ROOT / "benchmarks" / "results" / "jobqueue.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps({"jobs": given.jobs, "rounds": results, "medians": medians}, indent=2) + "\n")


def _count_commands(machine: machines.Machine) -> None:
    """Put commands before Slurm's on PATH that note each call."""
    shims = machine.directory / "shims"
    shims.mkdir()
    (machine.directory / "calls").touch()
    (machine.directory / "calls").chmod(0o666)
    for name in COMMANDS:
        (shims / name).write_text(f'#!/bin/sh\necho {name} >> {machine.directory}/calls\nexec /usr/bin/{name} "$@"\n')
        (shims / name).chmod(0o755)
    machine.path = f"{shims}:{machine.path}"


def _measure(machine: machines.Machine, who: str, jobs: int, peer: Path) -> dict[str, float]:
    calls = machine.directory / "calls"
    calls.write_text("")
    done = machine.run(machine.python, "program.py", who, str(jobs), str(peer), timeout=300)
    if done.returncode != 0:
        sys.exit(f"{who} failed:\n{done.stdout}\n{done.stderr}")
    made = calls.read_text().split()
    return {
        **json.loads(done.stdout.splitlines()[-1]),
        **{f"{name} commands": made.count(name) for name in COMMANDS},
        "commands": len(made),
    }


def _show(medians: dict[str, dict[str, float]], jobs: int) -> None:
    ours, theirs = medians["mpidask"], medians["dask-jobqueue"]
    print(f"{f'scale(jobs={jobs}), then close':32}{'mpidask':>10}{'dask-jobqueue':>16}{'ratio':>8}")
    for key, value in ours.items():
        ratio = f"{theirs[key] / value:8.1f}" if value else ""
        print(f"{key:32}{value:10.2f}{theirs[key]:16.2f}{ratio}")


if __name__ == "__main__":
    main()
