"""What is waited for, and what ends the wait: files, jobs, the time."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from mpidask.addresses import reachability
from mpidask.attach import shutdown, tunnel, wait
from mpidask.batch import registry
from mpidask.batch.commands import runner
from mpidask.batch.job import BatchJob
from mpidask.batch.job_state import JobId, JobState
from mpidask.batch.records import store
from mpidask.batch.status import Standing
from mpidask.batch.submission import handles
from mpidask.errors import StartupError, UsageError

pytestmark = pytest.mark.one_mpi


def test_a_stale_file_is_told(file):
    from mpidask.attach.client import connect

    with pytest.raises(StartupError, match="does not answer") as refused:
        connect(file)
    assert str(file) in refused.value.what


def test_a_file_that_does_not_come_is_told(tmp_path, monkeypatch):
    from mpidask.attach.client import connect

    monkeypatch.setattr(wait, "_APPEARS", 0.5)
    with pytest.raises(StartupError, match="there is no scheduler file"):
        connect(tmp_path / "nosuch.json")
    with pytest.raises(StartupError, match="there is no scheduler file"):
        connect(f"{tmp_path}/")
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(StartupError, match="is not a scheduler file"):
        connect(str(tmp_path / "other.json"))


def test_what_is_said_of_a_job_that_waits():
    pending = Standing(id="7", reason="waits for free nodes (Resources)", start="2026-11-21T15:10:00")
    assert wait._said(pending) == (
        "job 7 pending, waits for free nodes (Resources), estimated start 2026-11-21 15:10:00"
    )
    running = Standing(id="7", state=JobState.RUNNING, start="2026-11-21T15:10:00")
    assert wait._said(running) == "job 7 running, its scheduler starts"


class Never:
    """A search that finds nothing."""

    said = "job 7 pending"

    def look(self):
        return None

    def no_answer(self, entry, error):
        raise AssertionError


def test_the_time_is_up(capsys):
    with pytest.raises(StartupError, match="no connection after 0 s: job 7 pending"):
        wait.reach(Never(), lambda entry: None, timeout="0 s", quiet=True)
    with pytest.raises(UsageError, match="timeout is 'soon'"):
        wait.reach(Never(), lambda entry: None, timeout="soon", quiet=True)
    assert capsys.readouterr().err == ""


def test_a_job_whose_scheduler_is_busy_has_time_to_answer(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(wait, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(wait.spec, "file_of", lambda record: "scheduler.json")
    record = SimpleNamespace(exited=None)
    running = Standing(id="7", state=JobState.RUNNING)
    search = wait.JobSearch(SimpleNamespace(record=record, title="7", refresh=lambda: running))
    entry = SimpleNamespace(address="tls://10.0.0.1:1", host="n1")
    search.no_answer(entry, OSError("timed out"))
    assert search.said == "job 7 running, its scheduler does not answer yet"
    now[0] += 29
    search.no_answer(entry, OSError("timed out"))
    now[0] += 2
    record.exited = 0  # it was about to end
    search.no_answer(entry, OSError("timed out"))
    record.exited = None
    nobody = ConnectionRefusedError("nobody listens there")
    search.no_answer(entry, nobody)
    now[0] += 31
    search.no_answer(entry, OSError("timed out"))  # thousands of workers may come to it first
    with pytest.raises(StartupError, match="the scheduler of job 7 does not answer"):
        search.no_answer(entry, nobody)
    now[0] += 270
    with pytest.raises(StartupError, match="the scheduler of job 7 does not answer"):
        search.no_answer(entry, OSError("timed out"))


def test_a_scheduler_that_a_file_tells_of_has_time_to_answer_if_somebody_is_there(tmp_path, monkeypatch):
    now, late = [100.0], OSError("Timed out during handshake")
    monkeypatch.setattr(wait, "time", SimpleNamespace(monotonic=lambda: now[0]))
    path = str(tmp_path / "cluster.json")
    search = wait.FileSearch(path)

    def entry(port):
        return SimpleNamespace(address=f"tls://127.0.0.1:{port}", host="n1", origin="on n1")

    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as another:
        first, second = (entry(each.getsockname()[1]) for each in (one, another))
        search.no_answer(first, late)
        assert search.said == f"the scheduler that {path} tells of does not answer yet"
        assert search.look() is None
        assert search.said == f"waiting for the scheduler file {path}"
        now[0] += 29
        for each in (first, second):
            search.no_answer(each, late)
        now[0] += 29
        search.no_answer(second, late)
        now[0] += 3
        with pytest.raises(StartupError, match="does not answer"):
            search.no_answer(second, late)
    for there, error in ((first, "nobody listens"), (entry("x"), "nobody listens")):
        with pytest.raises(ConnectionError, match=error) as nobody:
            reachability.check_listening(there.address)
        with pytest.raises(StartupError, match="does not answer"):
            wait.FileSearch(path).no_answer(there, nobody.value)
    with pytest.raises(StartupError, match="another scheduler"):
        wait.FileSearch(path).no_answer(first, ConnectionError("another scheduler answers there"))


def test_connecting_needs_no_mpi():
    code = "import sys, mpidask; mpidask.connect, mpidask.MPICluster; print(*sys.modules)"
    text = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    loaded = set(text.split())
    assert "distributed" in loaded
    assert not {"mpi4py", "mpidask.launch", "mpidask.jobqueue"} & loaded


@pytest.fixture
def given_up(tmp_path, monkeypatch):
    """Return the job of a scheduler that Slurm did not list for a while, and lists again."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    slurm = registry.find("slurm")
    record, _ = store.create(BatchJob(command=("python", "-m", "mpidask.cli", "serve")), slurm, None)
    record.add_submission(JobId("100"))
    record.keep(Standing(id="100", state=JobState.FAILED, final=True, asked=time.time()))
    asked = []

    def run(command, *_, **__):
        asked.append(command.argv[0])
        text = "100|R|None|2026-11-27T01:00:00|0|0|\n" if command.argv[0] == "squeue" else ""
        return runner.Output(command, 0, text, "")

    monkeypatch.setattr(runner, "run", run)
    return SimpleNamespace(record=record, handle=handles.Handle(record, 60.0), asked=asked)


def test_stopping_a_job_that_was_given_up_ends_it(given_up):
    assert shutdown.stop(given_up.handle) == "is cancelled"
    assert given_up.asked[-1] == "scancel"


def test_a_job_that_was_given_up_can_be_connected_to(given_up):
    assert wait.newest().id == "100"
    given_up.record.keep(Standing(id="100", state=JobState.FAILED, final=True, asked=time.time()))
    assert wait.JobSearch(given_up.handle).look() is None, "it waits for the scheduler"
    given_up.record.keep(Standing(id="100", state=JobState.FAILED, final=True, asked=time.time()))
    with pytest.raises(StartupError, match="has no scheduler yet"):
        tunnel.show(given_up.handle, None)
