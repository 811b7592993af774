"""The run directory of a batch job: how far the run is, and what each rank's servers and tasks print."""

from __future__ import annotations

import json
import os
import re
import stat
import time

import pytest
from harness import PATIENCE, without_race
from selection import some

from mpidask import run_directory
from mpidask.launch.servers.plugins.progress import ProgressWriter
from mpidask.run_directory import Progress
from mpidask.security import scheduler_file

pytestmark = pytest.mark.one_mpi

START = "import json, os, signal, subprocess, sys, time\nimport mpidask\nfrom distributed import Client\n"

#: Waits in a script until the progress file says what is wanted.
UNTIL = """
def until(**wanted):
    deadline = time.monotonic() + 60
    while True:
        try:
            with open(os.environ["MPIDASK_RUN_DIRECTORY"] + "/progress.json") as file:
                found = json.load(file)
        except OSError:
            found = {}
        if all(found.get(name) == value for name, value in wanted.items()):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
"""

#: Prints in all the ways there are.
TALK = """
def talk(word):
    print(word, "by print")
    print(word, "by print to stderr", file=sys.stderr)
    subprocess.run(["echo", word, "by a process"])
    os.write(1, (word + " by descriptor\\n").encode())
"""


@pytest.fixture
def directory(ranks):
    path = ranks.directory / "run"
    path.mkdir(mode=0o700)
    return path


def job(directory, **more):
    return {run_directory.DIRECTORY: str(directory), **more}


def logs(directory):
    """Return rank -> what stands in its log."""
    return {int(path.stem.split("-")[1]): without_race(path.read_text()) for path in directory.glob("rank-*.log")}


def test_progress_is_written_where_it_changes(tmp_path):
    class Scheduler:
        workers = ()

    recorder, scheduler = ProgressWriter(str(tmp_path), Progress(0, 2, 12.5, 1, {"2": 2, "3": 3})), Scheduler()

    def wait_for(number):
        deadline = time.monotonic() + 10 * PATIENCE
        while getattr(Progress.read(str(tmp_path)), "workers", None) != number:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    import asyncio

    asyncio.run(recorder.start(scheduler))
    wait_for(0)
    for each in "ab":
        scheduler.workers += (each,)
        recorder.add_worker(scheduler, each)
    wait_for(2)
    scheduler.workers = ("b",)
    recorder.remove_worker(scheduler, "a", stimulus_id="")
    wait_for(1)
    assert Progress.read(str(tmp_path)) == Progress(1, 2, 12.5, 1, {"2": 2, "3": 3})
    asyncio.run(recorder.before_close())


@pytest.mark.both_mpis
def test_progress_and_logs(ranks, directory):
    end = time.time() + 1000
    script = f"""{UNTIL}{TALK}
c = Client()
until(workers=2)
c.submit(talk, "hello", workers=[2]).result()
talk("main")

def die_once(flag=os.environ["MPIDASK_RUN_DIRECTORY"] + "/died"):
    if not os.path.exists(flag):
        open(flag, "w").close()
        os.kill(os.getpid(), signal.SIGSEGV)

c.submit(die_once, workers=[3], allow_other_workers=True).result()
c.wait_for_workers(2)
c.retire_workers(names=[3])
until(workers=1)
"""
    environ = job(directory, MPIDASK_END_TIME=str(end))
    result = ranks(4, ranks.script(START + script), environ=environ)
    assert result.status == 0, result
    progress = json.loads((directory / "progress.json").read_text())
    assert 0 < time.time() - progress["began"] < 200
    link = re.search(r"dashboard +(\S+)", result.stderr)[1]
    assert {**progress, "workers": 0} == {
        "nodes": [os.uname().nodename], "began": progress["began"],
        "workers": 0, "expected": 2, "ends": end, "script": 1, "names": {"2": 2, "3": 3},
        "host": os.uname().nodename, "dashboard": link, "pages": link.removesuffix("status"),
    }  # fmt: skip
    assert "hello" not in result.stdout + result.stderr, result
    said = logs(directory)
    assert set(said) == {0, 2, 3}
    for way in ("print", "print to stderr", "a process", "descriptor"):
        assert f"hello by {way}\n" in said[2], said
    assert "main by print\n" in result.stdout, result
    assert "main by print to stderr\n" in result.stderr, result
    assert "mpidask: worker 3 on " in result.stderr, result
    assert not [text for text in said.values() if "mpidask: " in text], said
    for name in ("progress.json", "rank-0.log", "rank-2.log"):
        assert stat.S_IMODE((directory / name).stat().st_mode) == 0o600
    assert not result.leftover, result
    assert not ranks.leftovers(), result


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("nanny", some(["--nanny", "--no-nanny"], ["--nanny"]))
def test_few_ranks(ranks, directory, n, nanny):
    script = f"{UNTIL}{TALK}c = Client()\nuntil(workers=1, expected=1, script={n - 1})\nc.submit(talk, 'hello').result()\ntalk('main')"
    result = ranks(n, nanny, ranks.script(START + script), environ=job(directory))
    assert result.status == 0, result
    assert "hello" not in result.stdout, result
    said = logs(directory)
    assert set(said) == {0}
    assert said[0].count("hello by ") == 4 - (nanny == "--no-nanny"), said  # there it is the rank's own sys.stderr
    assert "main" not in said[0], said
    assert "main by descriptor\n" in result.stdout, result
    assert not ranks.leftovers(), result


@pytest.mark.thorough
def test_initialize_has_logs_and_a_session_has_not(ranks, directory):
    script = f"{UNTIL}mpidask.initialize()\nc = Client()\nuntil(workers=2, expected=2)\nc.submit(print, 'hello').result()\nprint('script')"
    result = ranks.python(4, ranks.script(START + script), environ=job(directory))
    assert (result.status, result.stdout) == (0, "script\n"), result
    assert sorted(text for text in logs(directory).values() if text) == ["hello\n"]
    result = ranks.python(
        4,
        ranks.script(
            START + UNTIL + "with mpidask.Session() as s, Client(s) as c:\n"
            "    until(workers=2, expected=2)\n    c.submit(print, 'again').result()\nprint('on')"
        ),
        environ=job(directory),
    )
    assert (result.status, sorted(result.stdout.split())) == (0, ["again", *4 * ["on"]]), result
    assert not [text for text in logs(directory).values() if "again" in text]
    assert not ranks.leftovers(), result


def test_a_cluster_without_a_script(ranks, directory):
    import sys

    command = [sys.executable, "-m", "mpidask.cli", "serve"]
    run = ranks.start(3, command=command, environ=job(directory))
    deadline = time.monotonic() + 30 * PATIENCE
    while (progress := Progress.read(str(directory))) is None or progress.workers < 2 or progress.dashboard is None:
        assert time.monotonic() < deadline, progress
        time.sleep(0.02)
    names = {"mpidask-1": 1, "mpidask-2": 2}
    node = os.uname().nodename
    assert progress == Progress(
        2, 2, None, None, names, progress.dashboard, node, [node], progress.began, progress.pages
    )
    assert 0 < time.time() - progress.began < 200
    entry = scheduler_file.read(str(directory / run_directory.SCHEDULER))  # for clients from elsewhere
    assert (entry.dashboard, entry.keys is not None) == (progress.dashboard, True)
    run.kill()
    assert set(logs(directory)) == {0, 1, 2}


def test_a_directory_that_cannot_be_written(ranks, directory):
    result = ranks(4, ranks.script("print('ran')"), environ=job(directory / "gone"))
    assert (result.status, result.stdout) == (0, "ran\n"), result
    assert len(result.words) == 1, result
    assert "warning: no rank-0.log and the like in the run directory: No such file" in result.words[0], result
    assert not result.leftover, result
    assert not ranks.leftovers(), result
