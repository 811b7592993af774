"""The sentence of advice, on what real runs have recorded: on a machine with two cores, mostly a busy one."""

from __future__ import annotations

import pytest

from mpidask.report.advice import advise
from mpidask.report.summary import Summary

pytestmark = pytest.mark.one_mpi


def run(parts, **more):
    usual = {"wall": 20.0, "threads": 4, "cores": 2, "workers": 2, "tasks": 36, "startup": 2.0, "busiest": 4}
    peak = ("3", 60260352, 11374431436)
    return Summary(**{**usual, "peak": peak, "mean": 0.2, "parts": parts, "capacity": sum(parts.values()), **more})


RECORDED = {
    "healthy": (run({"useful": 20.0, "transfer": 0.1, "scheduler": 2.1, "few_tasks": 1.0, "workers": 9.0}), None),
    "nothing to do": (run({"script": 10.0, "workers": 9.0}), None),
    "straggler": (
        run(
            {"useful": 6.1, "scheduler": 3.5, "few_tasks": 2.0, "stragglers": 10.0, "workers": 20.0, "script": 2.0},
            longest=("work-1", 4.0),
        ),
        "threads waited for a few tasks that took longer than others, the longest one work-1 (4.0 s): ",
    ),
    "half the nodes": (
        run({"useful": 6.6, "scheduler": 4.4, "few_tasks": 12.1, "workers": 9.0, "script": 2.0}, tasks=30, busiest=2),
        "at most 2 of 4 threads had a task at a time: half as many nodes would do",
    ),
    "too few tasks": (
        run({"useful": 6.6, "scheduler": 1.4, "few_tasks": 12.1}, tasks=6, busiest=2),
        "there were too few tasks for 4 threads",
    ),
    "spilling": (
        run(
            {"gil": 0.1, "spill": 50.5, "serialize": 12.3, "scheduler": 77.7, "stragglers": 9.5},
            spilled=922751254,
            peak=("3", 268689408, 600000000),
            mean=6.25e-05,
        ),
        "workers wrote 880 MiB to disk for want of memory",
    ),
    "paused": (
        run({"useful": 20.0, "spill": 20.0}),
        "workers paused for 50 % of the time for want of memory: give them more",
    ),
    "interpreter lock": (
        run({"useful": 12.0, "gil": 8.0, "scheduler": 6.1, "workers": 9.0}),
        "tasks waited for Python's interpreter lock for 23 % of the time",
    ),
    "slow imports": (
        run({"useful": 14.0, "scheduler": 1.1, "workers": 9.0}, imports=6.0),
        "tasks imported modules for 6.0 s in all",
    ),
    "slow start": (
        run({"useful": 6.6, "few_tasks": 1.0, "workers": 190.8, "script": 55.8}, arrived=(54.6, 190.8)),
        "workers took 54.6 s to start",
    ),
    "a script that is slow to give work": (
        run({"useful": 6.6, "few_tasks": 1.0, "workers": 190.8, "script": 55.8}, startup=54.6, arrived=(8.0, 30.0)),
        None,
    ),
    "workers that are lost later": (
        run({"useful": 60.6, "few_tasks": 1.0, "workers": 190.8}, startup=54.6, arrived=(54.6, 30.0)),
        None,
    ),
    "tasks that no worker can take": (
        run({"useful": 6.6, "unrunnable": 90.0, "workers": 9.0}),
        "threads had no task for 85 % of the time, while tasks asked for what no worker has",
    ),
    "the script alone": (
        run({"useful": 35.3, "few_tasks": 3.9, "workers": 13.0, "script": 220.7}, threads=2, startup=8.0),
        "workers had nothing to do for 81 % of the time while the script worked alone",
    ),
    "short tasks": (
        run({"useful": 4.0, "scheduler": 16.0}, mean=0.0012, tasks=4000),
        "tasks took 1.2 ms on average, too short for the scheduler to keep 4 threads busy",
    ),
    "transfers": (
        run({"useful": 8.0, "transfer": 6.0, "scheduler": 1.0}),
        "threads waited for data from other workers for 40 % of the time",
    ),
    "cores without a worker": (
        run({"useful": 40.0}, cores=32, peak=("3", 12 << 20, 100 << 20)),
        "workers used 12 % of their memory, and 4 of 32 cores: 8 times as many would fit (--workers-per-rank)",
    ),
}


@pytest.mark.parametrize("name", RECORDED)
def test_the_first_sentence(name):
    recorded, begins = RECORDED[name]
    said = advise(recorded)
    assert (said is None) if begins is None else (said or "").startswith(begins), said
