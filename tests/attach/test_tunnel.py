"""The tunnel to a dashboard."""

from __future__ import annotations

import concurrent.futures
import contextlib
import http.client
import http.server
import os
import random
import socket
import sys
import threading
import urllib.request

import pytest
from free_ports import own_port

from mpidask import run_directory
from mpidask.attach import tunnel
from mpidask.batch.commands import runner
from mpidask.batch.job_state import JobId, JobState
from mpidask.batch.status import Standing
from mpidask.errors import BatchError, StartupError

pytestmark = pytest.mark.one_mpi


class Running:
    """What a tunnel wants to know of a job: runs, until it was asked so many times."""

    id = "7"
    identity = JobId("7")

    def __init__(self, looks, system="local", **progress):
        self.looks, self.system = looks, system
        self.record = self
        self.progress = run_directory.Progress(1, 1, **progress)

    def refresh(self):
        self.looks -= 1
        return Standing(id="7", state=JobState.RUNNING if self.looks >= 0 else JobState.DONE)

    def recheck(self):
        return self.refresh()

    @property
    def state(self):
        return self.refresh().state


PORT = own_port(2)
LINK = f"http://127.0.0.1:{PORT}/secret/status"


@pytest.fixture
def ssh(tmp_path, monkeypatch):
    """Return a function that puts a Python program in ssh's place."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setattr(tunnel, "_JOB", 0.05)
    monkeypatch.setattr(tunnel, "_FOLLOWS", 0.5)

    def put(program, name="ssh"):
        (tmp_path / "bin" / name).write_text(f"#!{sys.executable}\nimport os, socket, sys, time\n{program}\n")
        (tmp_path / "bin" / name).chmod(0o755)

    return put


LISTENS = f"""
words = sys.argv[sys.argv.index("-L") + 1].split(":")
assert (words[0], words[2:], sys.argv[-1]) == ("127.0.0.1", ["127.0.0.1", "{PORT}"], "elsewhere"), sys.argv
server = socket.create_server((words[0], int(words[1])))
time.sleep(60)
"""


def test_a_dashboard_on_this_machine_needs_no_tunnel(ssh, capsys):
    ssh("raise SystemExit('not here')")
    assert tunnel.show(Running(1, dashboard=LINK, host=socket.gethostname()), None) == 0
    said = capsys.readouterr()
    assert said.out == f"{LINK}\n"
    assert f"ssh -N -L {PORT}:127.0.0.1:{PORT} " in said.err


def test_a_tunnel_stands_until_the_job_ends(ssh, capsys):
    ssh(LISTENS)
    port = PORT + 1
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


def test_a_job_that_seemed_to_have_ended_keeps_its_tunnel(ssh, capsys):
    class GivenUp(Running):
        asked = 0

        def refresh(self):
            standing = super().refresh()
            return Standing(id="7", state=JobState.FAILED) if self.looks <= 3 and not self.asked else standing

        def recheck(self):
            self.asked += 1
            return super().refresh()

    ssh(LISTENS)
    job = GivenUp(8, dashboard=LINK, host="elsewhere")
    assert tunnel.show(job, None) == 0
    assert job.asked == 2, "the second time it has ended"
    assert capsys.readouterr().err.endswith("mpidask: job 7 has ended\n")


def test_an_ssh_that_refuses_is_told(ssh):
    ssh("raise SystemExit(255)")
    with pytest.raises(BatchError, match="ssh to elsewhere ended with status 255") as refused:
        tunnel.show(Running(3, dashboard=LINK, host="elsewhere"), None)
    assert "try `ssh elsewhere`" in refused.value.remedy


def test_a_tunnel_that_breaks_is_told(ssh):
    ssh(LISTENS.replace("time.sleep(60)", "server.accept(); raise SystemExit(255)"))
    with pytest.raises(BatchError, match="has ended with status 255"):
        tunnel.show(Running(1000, dashboard=LINK, host="elsewhere"), None)


# ---------------------------------------------------------------- by a step of the job
@pytest.fixture
def pages(host):
    """Return the link of a server, which stands for a dashboard on its node, and what it answers."""
    large = random.Random(0).randbytes(2**21)

    class Pages(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", str(len(large) + len(body)))
            self.end_headers()
            self.wfile.write(large + body[::-1])

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer((host, 0), Pages)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://{host}:{server.server_port}/secret/status", large
    server.shutdown()
    thread.join()
    server.server_close()


#: It stands for the commands of batch systems that cannot be had here: golden command lines, and what they run.
STEP = """
words = sys.argv[1:]
at = words.index(sys.executable)
open({note!r}, "w").write(" ".join([os.path.basename(sys.argv[0]), *words[:at]]))
print("Welcome to this site", flush=True)
os.execv(sys.executable, words[at:])
"""

LINES = {
    "slurm": ("srun", "srun --jobid=7 --overlap --nodes=1 --ntasks=1 --nodelist=elsewhere --mpi=none --quiet"),
    "flux": ("flux", "flux exec --jobid=7 --rank=2"),
}


def ask(link, text):
    with urllib.request.urlopen(link, data=text, timeout=60) as answer:
        return answer.read()


#: The second one stands for an address of the node's that the user has named: --dashboard-address 10.0.0.5:8787.
@pytest.mark.parametrize(("scheduler", "host"), [("slurm", "127.0.0.1"), ("flux", "127.0.0.2")])
def test_a_step_of_the_job_carries_what_goes_both_ways(ssh, pages, scheduler, tmp_path, monkeypatch):
    command, line = LINES[scheduler]
    note = tmp_path / "line"
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    ssh("raise SystemExit('not by ssh')")
    ssh(STEP.format(note=str(note)), command)
    link, large = pages
    job = Running(9, scheduler, dashboard=link, host="elsewhere.site", nodes=["n1", "n2", "elsewhere.site"])
    texts = [bytes([65 + number]) * 1000 * number for number in range(5)]
    with tunnel.opened(job, "elsewhere.site", link) as opened, concurrent.futures.ThreadPoolExecutor(5) as pool:
        assert opened.link.startswith("http://127.0.0.1:") and opened.link != link, "the port is taken here"
        answers = list(pool.map(lambda text: ask(opened.link, text), texts))
        assert opened.way == f"{command} in job 7"
        assert opened.status() is None
    assert answers == [large + text for text in texts]
    assert note.read_text() == line
    assert opened.status() is not None
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", int(opened.link.split(":")[2].split("/")[0])), 5)


def test_a_step_that_fails_gives_way_to_ssh(ssh, capsys):
    ssh(LISTENS)
    ssh("print('srun: error: no such job', file=sys.stderr); raise SystemExit(1)", "srun")
    assert tunnel.show(Running(3, "slurm", dashboard=LINK, host="elsewhere"), None) == 0
    said = capsys.readouterr().err
    assert "srun in job 7 ended with status 1; ssh to elsewhere is tried" in said
    assert "the tunnel goes through ssh to elsewhere" in said


def test_a_step_that_never_starts_gives_way_to_ssh(ssh, capsys, monkeypatch):
    monkeypatch.setattr(tunnel, "_STEP", 0.5)
    ssh(LISTENS)
    ssh("time.sleep(60)", "srun")
    assert tunnel.show(Running(3, "slurm", dashboard=LINK, host="elsewhere"), None) == 0
    assert "srun in job 7 is not there after 0.5 s; ssh to elsewhere is tried" in capsys.readouterr().err


def test_a_connection_that_is_open_at_the_end_is_closed_in_silence(ssh, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    ssh(STEP.format(note=str(tmp_path / "line")), "srun")
    with socket.create_server(("127.0.0.1", 0)) as there:
        there.settimeout(60)
        link = f"http://127.0.0.1:{there.getsockname()[1]}/secret/status"
        with tunnel.opened(Running(9, "slurm", host="elsewhere"), "elsewhere", link, 0) as opened:
            here = int(opened.link.split(":")[2].split("/")[0])
            near = socket.create_connection(("127.0.0.1", here), 60)
            far, _ = there.accept()
    with near, far:
        assert near.recv(1) == b""
    assert [each.getMessage() for each in caplog.records if each.name == "asyncio"] == []


def test_a_port_where_nobody_listens_closes_the_connection(ssh, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    ssh(STEP.format(note=str(tmp_path / "line")), "srun")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        link = f"http://127.0.0.1:{taken.getsockname()[1]}/secret/status"
    with (
        tunnel.opened(Running(9, "slurm", host="elsewhere"), "elsewhere", link, 0) as opened,
        pytest.raises((OSError, http.client.HTTPException)),
    ):
        ask(opened.link, b"anybody?")


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
