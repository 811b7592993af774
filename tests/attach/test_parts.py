"""What is typed and written before any job is there: options, files, lines, the tunnel's command."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from mpidask import run_directory
from mpidask.attach import shutdown, spec, tunnel, wait
from mpidask.batch import commands, registry
from mpidask.batch.command import Command
from mpidask.batch.job import BatchJob
from mpidask.batch.job_state import JobId, JobState
from mpidask.batch.records import store
from mpidask.batch.records.record import Record
from mpidask.batch.settings import JobOptions
from mpidask.batch.status import Standing
from mpidask.batch.submission import handles
from mpidask.cli import command_line, ranks
from mpidask.errors import ArgumentError, BatchError, StartupError, UsageError
from mpidask.security import credentials, scheduler_file
from mpidask.status_line import StatusLine

pytestmark = pytest.mark.one_mpi


@pytest.fixture
def mpidask(tmp_path):
    """Return a function that runs the command."""

    def run(*arguments, **environ):
        surroundings = {"XDG_STATE_HOME": str(tmp_path / "state"), "DASK_CONFIG": str(tmp_path / "config")}
        return subprocess.run(
            [sys.executable, "-m", "mpidask.cli", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
            env={**os.environ, "DASK_MPIDASK__BATCH__SYSTEM": "local", **surroundings, **environ},
            check=False,
        )

    return run


# The order.

GIVEN = {
    "nthreads": 2,
    "memory_limit": "1 GiB",
    "nanny": False,
    "inclusive_workers": False,
    "worker_options": {"lifetime": "1 h"},
    "idle_timeout": "5 min",
    "interface": None,
}


def test_options_of_a_run_arrive_as_they_were_given():
    job = spec.describe(JobOptions(nodes=4), GIVEN)
    assert job.command[:4] == (job.python, "-m", "mpidask.cli", "serve")
    read = command_line.read(ranks.serve_command(), job.command[4:])
    given = {name: value for name, value in read.items() if value not in (None, ())}
    assert given == {name: value for name, value in GIVEN.items() if value is not None}


def test_a_job_that_nobody_looks_at_ends_by_itself():
    assert "--idle-timeout 1 h" in " ".join(spec.describe(JobOptions(), {}).command)
    assert spec.idle_timeout({}) == "1 h"
    assert spec.idle_timeout({"idle_timeout": "0"}) is None
    assert "--idle-timeout 0" in " ".join(spec.describe(JobOptions(), {"idle_timeout": "0"}).command)
    joining = {"scheduler": False, "scheduler_file": "cluster.json"}
    command = " ".join(spec.describe(JobOptions(), joining).command)
    assert "serve --no-scheduler --scheduler-file cluster.json" in command
    assert "--idle-timeout" not in command, "workers end with their scheduler"


def test_a_rank_that_has_its_node_to_itself_hosts_several_workers():
    for nodes in (1, 2):
        command = " ".join(spec.describe(JobOptions(nodes=nodes), {}).command)
        assert command.endswith("serve --workers-per-rank auto --idle-timeout 1 h"), "all ranks host workers"
    for options, given in (
        (JobOptions(nodes=2, ranks_per_node=2), {}),
        (JobOptions(nodes=2), {"nanny": False}),
    ):
        assert "--workers-per-rank" not in spec.describe(options, given).command
    command = " ".join(spec.describe(JobOptions(nodes=2), {"workers_per_rank": 4}).command)
    assert command.endswith("serve --workers-per-rank 4 --idle-timeout 1 h")


@pytest.mark.parametrize("given", [{"nanny": False}, {"workers_per_rank": 1}, {"inclusive_workers": False}])
def test_a_single_rank_hosts_scheduler_and_workers(given):
    """Whatever is given: there is no other."""
    assert "--inclusive-workers" in spec.describe(JobOptions(), given).command
    assert "--inclusive-workers" not in spec.describe(JobOptions(nodes=2), given).command


def test_keywords_are_those_of_job_and_run():
    options, run = spec.divided({"nodes": 4, "walltime": "2 h", "nthreads": 2, "directive": ["--exclusive"]})
    assert (options.nodes, options.walltime, options.directive) == (4, "2 h", ("--exclusive",))
    assert run == {"nthreads": 2}
    assert spec.describe(options, run).walltime == timedelta(hours=2)
    with pytest.raises(ArgumentError, match="unknown keyword: node") as refused:
        spec.divided({"node": 4})
    assert "did you mean nodes?" in refused.value.remedy
    for name in ("scheduler", "scheduler_address", "client_rank"):
        with pytest.raises(ArgumentError, match=name):
            spec.divided({name: None})
    with pytest.raises(UsageError, match="nodes is '4'"):
        spec.divided({"nodes": "4"})


def a_record(directory, *command):
    return Record(
        directory=Path(directory),
        system="local",
        job="x",
        origin="/origin",
        words=command,
        nodes=1,
        ranks=1,
        walltime=None,
        requeue=0,
        command=Command(argv=("true",)),
    )


def test_which_jobs_serve_and_where_they_say_so():
    serving = a_record("/run", "python", "-m", "mpidask.cli", "serve", "--nthreads", "1")
    assert spec.serves(serving)
    assert spec.file_of(serving) == f"/run/{run_directory.SCHEDULER}"
    elsewhere = a_record("/run", "python", "-m", "mpidask.cli", "serve", "--scheduler-file", "here.json")
    assert spec.file_of(elsewhere) == "/origin/here.json"
    for other in (
        ("python", "-m", "mpidask", "serve"),
        ("python", "-m", "mpidask.cli", "serve", "--no-scheduler", "--scheduler-file", "f"),
    ):
        assert not spec.serves(a_record("/run", *other))


# The scheduler file.


@pytest.fixture(scope="module")
def keys():
    return credentials.make()


@pytest.fixture
def file(tmp_path, keys):
    """Return a scheduler file whose scheduler is gone."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"tls://127.0.0.1:{taken.getsockname()[1]}"
    path = tmp_path / "scheduler.json"
    path.write_text(json.dumps({"address": address, "id": "x", "mpidask": {"keys": dataclasses.asdict(keys)}}))
    path.chmod(0o600)
    return path


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


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_file_that_others_can_read_is_refused(file, mode):
    file.chmod(mode)
    with pytest.raises(StartupError, match="others may read or change it"):
        scheduler_file.read(str(file))


@pytest.mark.parametrize("with_keys", [True, False])
@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_another_users_file_is_refused(file, with_keys):
    """Without keys, too: what answers there could have the client run code."""
    if not with_keys:
        file.write_text(json.dumps({"address": "tcp://127.0.0.1:9"}))
    scheduler_file.read(str(file))
    os.chown(file, 65534, 65534)
    with pytest.raises(StartupError, match="another user's"):
        scheduler_file.read(str(file))


# What is said while one waits.


def test_what_is_said_of_a_job_that_waits():
    pending = Standing(id="7", reason="waits for free nodes (Resources)", start="2026-11-21T15:10:00")
    assert wait._said(pending) == (
        "job 7 pending, waits for free nodes (Resources), estimated start 2026-11-21 15:10:00"
    )
    running = Standing(id="7", state=JobState.RUNNING, start="2026-11-21T15:10:00")
    assert wait._said(running) == "job 7 running, its scheduler starts"


def test_a_line_for_each_change(capsys):
    line = StatusLine(enabled=True)
    for text in ("pending", "pending", "running"):
        line.show(text)
    line.clear()
    StatusLine(enabled=False).show("nothing")
    StatusLine(after=60).show("not yet")
    for left in "321":
        line.show(f"4 workers up, {left} s left", in_logs="4 workers up")
    assert capsys.readouterr().err == "mpidask: pending\nmpidask: running\nmpidask: 4 workers up\n"


def test_a_terminal_has_one_line_that_changes(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(sys.stderr, "fileno", lambda: 2)
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((20, 5)))
    line = StatusLine()
    for text in ("pending", "waiting for a node that is there"):
        line.show(text)
    line.clear()
    assert capsys.readouterr().err == "\r\x1b[Kmpidask: pending\r\x1b[Kmpidask: waiting fo\r\x1b[K"


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


# The tunnel.


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
    with commands.alongside([sys.executable, "-c", "import time; time.sleep(60)"]) as status:
        assert status() is None
    assert status() is not None
    with pytest.raises(BatchError, match="nosuch cannot be run"), commands.alongside(["nosuch"]):
        pass


# The command.


def test_a_dry_run_shows_the_script_and_leaves_nothing(mpidask, tmp_path):
    words = ["--system", "slurm", "--python", "python", "-N", "8", "--nthreads", "2", "--no-nanny"]
    done = mpidask("start", "--dry-run", *words)
    assert "#SBATCH -N 8\n" in done.stdout, done
    assert "python -m mpidask.cli serve --nthreads 2 --no-nanny --idle-timeout '1 h'" in done.stdout, done
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("words", [["start", "--dry-run", "--system", "slurm"], ["stop", "1"], ["dashboard", "1"]])
def test_a_login_node_needs_no_mpi(words, tmp_path):
    code = (
        f"import sys; from mpidask.cli import main; sys.argv[1:] = {words}\n"
        "try:\n    main()\nfinally:\n    print(sorted({'mpi4py', 'distributed'} & {*sys.modules}))"
    )
    environ = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, env=environ
    )
    assert done.stdout.endswith("[]\n"), done


def test_connecting_needs_no_mpi():
    code = "import sys, mpidask; mpidask.connect, mpidask.MPICluster; print(*sys.modules)"
    text = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    loaded = set(text.split())
    assert "distributed" in loaded
    assert not {"mpi4py", "mpidask.launch", "mpidask.jobqueue"} & loaded


# A job that was taken for ended.


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
        return commands.Output(command, 0, text, "")

    monkeypatch.setattr(commands, "run", run)
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
