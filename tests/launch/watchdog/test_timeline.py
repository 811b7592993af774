"""What --timeline writes: all processes of a run, in the order of time, however the run ends; nothing without it."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict

import pytest
from harness import PATIENCE

from mpidask.launch.watchdog import trace

CLIENT = "from distributed import Client\nimport os, sys, time\n"

#: Where a run comes by, whoever takes part: rank, what it is called, what it does there.
STATIONS = [
    (0, "rank", "MPI_Init"),
    (0, "rank", "MPI_Finalize"),
    (0, "agent", "import Dask"),
    (0, "agent", "start the scheduler"),
    (0, "agent", "worker 2 is registered"),
    (0, "agent", "worker 3 is registered"),
    (0, "agent", "a client is connected"),
    (0, "agent", "the first task is done"),
    (1, "rank", "close the cluster"),
    (1, "script", "import Dask"),
    (1, "script", "connect a client"),
    (1, "script", "the script"),
    (2, "rank", "wait for workers"),
    (2, "agent", "start the fork server"),
    (2, "agent", "worker 3 is up"),
    (2, "agent", "close servers"),
    (2, "fork server", "prepare for workers"),
    (2, "worker 2", "fork and listen"),
    (2, "worker 2", "register with the scheduler"),
    (3, "worker 3", "register with the scheduler"),
    (3, "rank", "wait for all ranks at the end"),
]


def read(file):
    """Return the places where processes of a timeline came by, as (rank, process, what), once it is in order."""
    told = json.loads(file.read_text())
    names, events = {}, defaultdict(list)
    for event in told["traceEvents"]:
        track = event["pid"], event["tid"]
        if event["name"] == "thread_name":
            names[track] = event["args"]["name"]
        elif event["ph"] in "Xi":
            events[track].append(event)
    assert names.keys() == events.keys()
    for its in events.values():
        spans = [each for each in its if each["ph"] == "X"]
        assert all(each["ts"] >= 0 and each["dur"] >= 0 for each in spans), spans
        assert all(one["ts"] + one["dur"] == other["ts"] for one, other in itertools.pairwise(spans)), spans
        assert all(set(each["args"]) == {"computed, ms", "waited for a core, ms", "waited, ms"} for each in spans)
    return {(rank, names[rank, pid], event["name"]) for (rank, pid), its in events.items() for event in its}


def taken(file):
    """Read a timeline, and remove it."""
    stations = read(file)
    file.unlink()
    return stations


def test_every_process_is_in_it(ranks):
    script = ranks.script(CLIENT + "print(Client().submit(sum, [1, 2]).result(), os.environ.get('MPIDASK_TIMELINE'))")
    result = ranks(4, "--timeline", "timeline.json", script)
    assert (result.status, result.stdout) == (0, "3 None\n"), result
    assert set(STATIONS) - taken(ranks.work / "timeline.json") == set(), result
    first, *waits = result.words
    assert first.startswith(f"mpidask: timeline: {ranks.work}/timeline.json, which "), result
    assert 1 <= len(waits) <= 10, result
    assert all(line.startswith("mpidask: timeline: ") and " (rank " in line for line in waits), result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


@pytest.mark.parametrize("victim", ["mpirun", 0])
def test_a_run_that_is_killed_leaves_it(ranks, victim):
    script = ranks.script(CLIENT + "c = Client(); print(c.submit(sum, [1, 2]).result(), flush=True); time.sleep(600)")
    run = ranks.start(4, "--timeline=timeline.json", script)
    run.wait_for("3")
    os.kill(run.process.pid if victim == "mpirun" else run.rank(victim), signal.SIGKILL)
    result = run.result()
    file, deadline = ranks.work / "timeline.json", time.monotonic() + 10 * PATIENCE
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    ends = {"MPI_Finalize", "close the cluster", "close servers", "wait for all ranks at the end"}
    wanted = {each for each in STATIONS if each[2] not in ends and each != (1, "script", "the script")}
    assert wanted - taken(file) == set(), result
    assert victim == "mpirun" or "mpidask: timeline: " in result.stderr, result  # else nobody is left to read it
    assert not result.leftover, result
    assert not ranks.leftovers(), result


@pytest.mark.one_mpi
def test_of_a_session(ranks):
    script = ranks.script(
        CLIENT + "import mpidask\n"
        "with mpidask.Session(timeline='timeline.json') as session, Client(session) as client:\n"
        "    print(client.submit(sum, [1, 2]).result())\n"
        "assert 'MPIDASK_TIMELINE' not in os.environ\n"
    )
    result = ranks.python(3, script)
    assert (result.status, result.stdout) == (0, "3\n"), result
    stations = taken(ranks.work / "timeline.json")
    assert {(2, "worker 2", "register with the scheduler"), (1, "rank", "close the cluster")} <= stations, result
    assert not ranks.leftovers(), result


@pytest.mark.one_mpi
def test_without_it_nothing_is_imported_for_it(ranks):
    """An option of the script with the same name is the script's."""
    about = "[sorted(each for each in sys.modules if each.endswith(('.timeline', '.trace', '.timing')))"
    script = ranks.script(
        CLIENT + f"def look():\n    import sys, os\n    return {about}, os.environ.get('MPIDASK_TIMELINE') or None]\n"
        "print(look(), Client().submit(look).result())"
    )
    result = ranks(3, script)
    assert result.stdout == "[[], None] [['mpidask.launch.servers.plugins.timing'], None]\n", result
    result = ranks(3, "--", script, "--timeline", "t.json")
    assert (result.status, result.words) == (0, []), result
    assert result.stdout.count("None") == 2, result
    assert not ranks.leftovers(), result


@pytest.mark.one_mpi
def test_before_mpi_it_costs_no_import():
    code = (
        "import sys\nfrom mpidask.launch.watchdog import mark\n"
        "from mpidask.launch.watchdog.early_processes import EarlyProcesses\n"
        "EarlyProcesses.start([], has_script=False).discard(); mark('something')\n"
        "print([each for each in sys.modules if each.endswith(('.timeline', '.trace'))])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


@pytest.mark.one_mpi
def test_a_file_that_cannot_be_written_is_refused(ranks):
    result = ranks(0, "--timeline", "/proc/no/timeline.json", ranks.script("print('never')"))
    assert (result.status, result.stdout) == (2, ""), result
    assert "--timeline is '/proc/no/timeline.json', which cannot be written" in result.stderr, result


# ------------------------------------------------------------------------------------------- what it is made of
LINES = [
    "1\t7\tscript\tstart\t10.000000\t0.000000\t0.000000\t1000.000000",
    "1\t7\tscript\town\t10.500000\t0.100000\t0.050000\tstart Python",
    "1\t7\tscript\tnote\t10.600000\t0.100000\t0.050000\ta moment",
    "1\t7\tscript\tothers\t11.500000\t0.200000\t0.050000\twait for the ranks",
    "1\t7\tscript\town\t11.7",
]


@pytest.mark.one_mpi
def test_spans_are_what_is_between_marks():
    first, second, moment = trace.spans({"n1": LINES})
    assert (first.name, first.begin, first.end, first.process) == ("start Python", 1010.0, 1010.5, "script")
    assert first.waited == pytest.approx(0.35)
    assert (moment.begin, moment.end, moment.kind) == (1010.6, 1010.6, "note")
    assert (second.begin, second.end) == (1010.5, 1011.5)


@pytest.mark.one_mpi
def test_waits_for_other_processes_are_not_listed():
    assert trace.waits(trace.spans({"n1": LINES})) == [
        "  0.350 s of 0.500 s, from 0.000 s on: start Python (rank 1, script)"
    ]
    assert trace.waits([]) == ["none"]
