"""Real runs, each with one thing wrong: the record knows it, and the first sentence of advice says it."""

from __future__ import annotations

import dataclasses
import time

import pytest
from harness import kill_at_once, marked
from selection import some

from mpidask import run_directory
from mpidask.report import closing, record, start
from mpidask.report.advice import advise
from mpidask.report.summary import summarize

pytestmark = pytest.mark.one_mpi

HEAD = """
import os, sys, time
from distributed import Client
client = Client()
threads = sum(client.nthreads().values())
def work(seconds, *before):
    time.sleep(seconds)
    return seconds
def each(*seconds):
    client.gather([client.submit(work, s, pure=False) for s in seconds])
"""

HEALTHY = HEAD + "each(*[0.1] * 30 * threads)"

#: What is wrong -> script, options, and what the advice begins with.
FAULTS = {
    "too few tasks": (
        "for _ in range(3):\n    each(1, 1)",
        (),
        "there were too few tasks for 4 threads",
    ),
    "a straggler": (
        "each(*[0.1] * 20, 4)",
        (),
        "threads waited for a few tasks that took longer than others, the longest one work-",
    ),
    "spilling": (
        "def large(n):\n    time.sleep(0.1)\n    return os.urandom(40 << 20)\n"
        "kept = client.map(large, range(30))\nclient.gather(client.map(len, kept))\n"
        # Workers tell it with their next heartbeat, twice a second.
        "while not any(each['metrics']['spilled_bytes']['disk'] for each in client.scheduler_info(-1)['workers'].values()):\n"
        "    time.sleep(0.1)",
        ("--memory-limit", "600 MB"),
        "workers wrote ",
    ),
    "twice as many nodes as can be used": (
        "ends = [0.2, 0.2]\nfor _ in range(15):\n    ends = [client.submit(work, 0.2, end, pure=False) for end in ends]\nclient.gather(ends)",
        (),
        "at most 2 of 4 threads had a task at a time: half as many nodes would do",
    ),
    "slow imports": (
        "def needs(n):\n    import slow_to_import\n    time.sleep(0.1)\nclient.gather(client.map(needs, range(80)))",
        (),
        "tasks imported modules for ",
    ),
    "the interpreter lock": (
        "def count(n):\n    end = time.monotonic() + 0.5\n    while time.monotonic() < end: pass\nclient.gather(client.map(count, range(36)))",
        (),
        "tasks waited for Python's interpreter lock for ",
    ),
}


@pytest.fixture
def kept(ranks):
    return str(ranks.directory / "kept")


def started(found):
    """Return what a record comes to, had the run started within seconds: a machine may be busy with other tests."""
    run = summarize(found)
    return dataclasses.replace(
        run,
        startup=1.0,
        parts={**run.parts, "workers": 0.0, "script": 0.0},
        capacity=run.capacity * (1 - run.share("workers", "script")),
    )


def read(kept):
    (path,) = record.find(kept)
    return record.read(path)


@pytest.mark.parametrize("wrong", some(FAULTS, "too few tasks"))
def test_what_is_wrong_is_said_first(ranks, kept, wrong):
    script, options, begins = FAULTS[wrong]
    ranks.script("import time\ntime.sleep(2)", "slow_to_import.py")
    result = ranks(4, "--nthreads", "2", "--report", kept, *options, ranks.script(HEAD + script))
    assert result.status == 0, result
    found = read(kept)
    assert (advise(started(found)) or "").startswith(begins), (summarize(found), result)
    for line in closing.closing_lines(found):
        assert f"mpidask: report  {line}" in result.stderr
    assert sum(found.totals["parts"].values()) == pytest.approx(found.totals["capacity"], rel=0.02)


def test_a_healthy_run_gets_no_advice(ranks, kept):
    result = ranks(4, "--report", kept, ranks.script(HEALTHY))
    assert result.status == 0, result
    found = read(kept)
    assert advise(started(found)) is None, summarize(found)
    assert found.status == 0
    assert found.end is not None
    assert [kind[0] for kind in found.totals["kinds"]] == ["work"]
    assert found.totals["tasks"] == 30 * found.run["threads"]
    assert ["--report", kept, "command line"] in found.run["options"]
    phases = [[phase for phase, _, _ in row.spans] for row in start.rows(found)]
    assert phases == [list(start.PHASES)[: 3 + hosts] for hosts in (0, 0, 1, 1)]
    for line in closing.closing_lines(found):
        assert f"mpidask: report  {line}" in result.stderr


@pytest.mark.parametrize("how", ["--no-report", "nothing"])
def test_without_a_record(ranks, tmp_path, how):
    given = {run_directory.DIRECTORY: str(tmp_path)} if how == "--no-report" else {}
    words = [how] if how == "--no-report" else []
    result = ranks(3, *words, ranks.script("print('done')"), environ=given)
    assert (result.status, result.stdout) == (0, "done\n"), result
    assert "mpidask: report" not in result.stderr
    assert record.find(str(tmp_path)) == []


def test_a_batch_job_keeps_one_in_its_run_directory(ranks, tmp_path):
    result = ranks(3, ranks.script("print('done')"), environ={run_directory.DIRECTORY: str(tmp_path)})
    assert result.status == 0, result
    assert read(str(tmp_path)).status == 0


def test_a_directory_that_cannot_be_made_is_an_error(ranks):
    result = ranks(3, "--report", "/proc/none", ranks.script("print('done')"))
    assert result.status != 0
    assert result.stdout == ""
    assert "there can be no record of the run in /proc/none" in result.stderr


GOES_ON = HEAD + "print('going', flush=True)\neach(*[0.2] * 1000 * threads)"


def until_computed(kept, seconds):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        found = record.newest(kept)
        if found is not None and found.totals.get("parts", {}).get("useful", 0) > seconds:
            return
        time.sleep(0.1)
    raise AssertionError("no task was recorded")


def test_a_killed_run_leaves_what_was_known(ranks, kept):
    run = ranks.start(3, "--report", kept, ranks.script(GOES_ON))
    run.wait_for("going")
    until_computed(kept, 1)
    kill_at_once(marked(run.mark))
    run.result()
    found = read(kept)
    assert (found.end, found.status) == (None, None)
    assert found.totals["parts"]["useful"] > 1
    assert "the record ends there" in closing.closing_lines(found)[0]


@pytest.mark.thorough
def test_the_walltime_leaves_a_record_that_says_so(ranks, kept):
    end = {run_directory.END: str(int(time.time()) + 40)}
    result = ranks(3, "--walltime-margin", "5 s", "--report", kept, ranks.script(GOES_ON), environ=end, timeout=90)
    assert result.status == 75, result
    found = read(kept)
    assert found.status == 75
    assert found.end is not None
    assert found.run["ends"] == float(end[run_directory.END])


@pytest.mark.thorough
def test_a_dead_worker_is_recorded_with_its_reason(ranks, kept):
    script = (
        HEAD
        + "def die(mark):\n    if not os.path.exists(mark):\n        open(mark, 'w').close()\n        os.kill(os.getpid(), 9)\neach(*[0.1] * 10)\nclient.submit(die, os.environ['TMPDIR'] + '/died').result()\nos.remove(os.environ['TMPDIR'] + '/died')"
    )
    result = ranks(4, "--report", kept, ranks.script(script))
    assert result.status == 0, result
    (died,) = [event for event in read(kept).events if event["kind"] == "died"]
    assert "SIGKILL" in died["what"]
    assert summarize(read(kept)).restarts == 1
    assert "1 restart" in result.stderr
