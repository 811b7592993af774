"""The tunnel to a dashboard."""

from __future__ import annotations

import contextlib
import os
import socket
import sys

import pytest

from mpidask import run_directory
from mpidask.attach import tunnel
from mpidask.batch.commands import runner
from mpidask.batch.job_state import JobState
from mpidask.batch.status import Standing
from mpidask.errors import BatchError, StartupError

pytestmark = pytest.mark.one_mpi


class Running:
    """What a tunnel wants to know of a job: runs, until it was asked so many times."""

    id = "7"

    def __init__(self, looks, **progress):
        self.looks = looks
        self.record = self
        self.progress = run_directory.Progress(1, 1, **progress)

    def refresh(self):
        self.looks -= 1
        return Standing(id="7", state=JobState.RUNNING if self.looks >= 0 else JobState.DONE)

    @property
    def state(self):
        return self.refresh().state


LINK = "http://127.0.0.1:45671/secret/status"


@pytest.fixture
def ssh(tmp_path, monkeypatch):
    """Return a function that puts a Python program in ssh's place."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setattr(tunnel, "_JOB", 0.05)

    def put(program):
        (tmp_path / "bin" / "ssh").write_text(f"#!{sys.executable}\nimport socket, sys, time\n{program}\n")
        (tmp_path / "bin" / "ssh").chmod(0o755)

    return put


LISTENS = """
words = sys.argv[sys.argv.index("-L") + 1].split(":")
assert (words[0], words[2:], sys.argv[-1]) == ("127.0.0.1", ["127.0.0.1", "45671"], "elsewhere"), sys.argv
server = socket.create_server((words[0], int(words[1])))
time.sleep(60)
"""


def test_a_dashboard_on_this_machine_needs_no_tunnel(ssh, capsys):
    ssh("raise SystemExit('not here')")
    assert tunnel.show(Running(1, dashboard=LINK, host=socket.gethostname()), None) == 0
    said = capsys.readouterr()
    assert said.out == f"{LINK}\n"
    assert "ssh -N -L 45671:127.0.0.1:45671 " in said.err


def test_a_tunnel_stands_until_the_job_ends(ssh, capsys):
    ssh(LISTENS)
    with socket.create_server(("127.0.0.1", 0)) as taken:  # so that it is another port than the dashboard's
        port = taken.getsockname()[1]
    assert tunnel.show(Running(3, dashboard=LINK, host="elsewhere"), port) == 0
    said = capsys.readouterr()
    assert said.out == f"http://127.0.0.1:{port}/secret/status\n"
    assert f"ssh -N -L {port}:127.0.0.1:{port} " in said.err
    assert "job 7 has ended" in said.err
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        raise AssertionError("ssh has ended with the tunnel")


def test_a_port_that_is_taken_is_not_the_tunnels(ssh):
    ssh(LISTENS)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartupError, match=f"port {port} cannot be used here"):
            tunnel.show(Running(3, dashboard=LINK, host="elsewhere"), port)
        own = tunnel._free(None, port)
    assert own != port


def test_an_ssh_that_refuses_is_told(ssh):
    ssh("raise SystemExit(255)")
    with pytest.raises(BatchError, match="ssh to elsewhere ended with status 255") as refused:
        tunnel.show(Running(3, dashboard=LINK, host="elsewhere"), None)
    assert "try `ssh elsewhere`" in refused.value.remedy


def test_a_tunnel_that_breaks_is_told(ssh):
    ssh(LISTENS.replace("time.sleep(60)", "server.accept(); raise SystemExit(255)"))
    with pytest.raises(BatchError, match="has ended with status 255"):
        tunnel.show(Running(1000, dashboard=LINK, host="elsewhere"), None)


def test_jobs_without_a_dashboard_say_why():
    with pytest.raises(StartupError, match="job 7 is done"):
        tunnel.show(Running(0), None)
    with pytest.raises(StartupError, match="has no scheduler yet"):
        tunnel.show(Running(1), None)
    with pytest.raises(StartupError, match="job 7 has no dashboard"):
        tunnel.show(Running(1, host="elsewhere"), None)


def test_a_command_beside_this_process_ends_with_the_block():
    with runner.alongside([sys.executable, "-c", "import time; time.sleep(60)"]) as status:
        assert status() is None
    assert status() is not None
    with pytest.raises(BatchError, match="nosuch cannot be run"), runner.alongside(["nosuch"]):
        pass
