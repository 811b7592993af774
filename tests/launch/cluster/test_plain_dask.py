"""Programs that know Dask alone join a run with TLS, after one step: `eval "$(mpidask keys FILE)"`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import stat
import subprocess
import sys
import threading
import time

import pytest

from mpidask import run_directory
from mpidask.attach import wait
from mpidask.cli import attach
from mpidask.errors import StartupError
from mpidask.security import scheduler_file

pytestmark = pytest.mark.one_mpi

MPIDASK = f"{shlex.quote(sys.executable)} -m mpidask.cli"

PROGRAM = """
import sys
from distributed import Client

with Client(scheduler_file=sys.argv[1], timeout=90) as client, Client(client.scheduler.address, timeout=90) as second:
    client.wait_for_workers(2, timeout=180)
    workers = second.scheduler_info(n_workers=-1)["workers"]
    (plain,) = [address for address, each in workers.items() if each["name"] == "plain"]
    print(second.submit(sum, [20, 22], workers=[plain]).result(timeout=90), "mpidask" in sys.modules)
    client.shutdown()
"""

SHELL = f"""
set -e
eval "$({MPIDASK} keys "$1")"
"$0" -W ignore -m distributed.cli.dask_worker --scheduler-file "$1" --name plain --nthreads 1 --no-dashboard \\
    --dashboard-address 127.0.0.1:0 --local-directory "$3" &
trap 'kill $!' EXIT
"$0" -W ignore "$2" "$1"
trap - EXIT
wait $!
"""


def until_there(path, run):
    deadline = time.monotonic() + 180
    while not path.exists():
        assert run.process.poll() is None and time.monotonic() < deadline, run._read("err")
        time.sleep(0.02)


def test_dasks_own_worker_and_client_join(ranks, tmp_path):
    file = tmp_path / "cluster.json"
    run = ranks.start(2, command=[sys.executable, "-m", "mpidask.cli", "serve", "--scheduler-file", str(file)])
    until_there(file, run)
    program, scratch = tmp_path / "program.py", tmp_path / "scratch"
    program.write_text(PROGRAM)
    words = ["bash", "-c", SHELL, sys.executable, str(file), str(program), str(scratch)]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(words, capture_output=True, text=True, timeout=450, env=environ, check=False)
    assert (done.returncode, done.stdout) == (0, "42 False\n"), (done, run._read("err"))
    result = run.result(30)
    assert (result.status, result.leftover) == (0, []), result
    assert not file.exists() and not (tmp_path / "cluster.json.pem").exists()


def test_the_key_file_is_its_users_alone(file, keys):
    found = scheduler_file.variables(scheduler_file.read(str(file)))
    path = run_directory.key_file(str(file))
    assert found["DASK_SCHEDULER_ADDRESS"].startswith("tls://127.0.0.1:")
    assert {value for name, value in found.items() if "__TLS__" in name} == {path}
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert keys.key not in str(found)


def test_without_tls_there_are_no_keys(tmp_path):
    path = tmp_path / "cluster.json"
    path.write_text('{"address": "tcp://127.0.0.1:9"}')
    assert scheduler_file.variables(scheduler_file.read(str(path))) == {"DASK_SCHEDULER_ADDRESS": "tcp://127.0.0.1:9"}
    assert os.listdir(tmp_path) == ["cluster.json"]


def test_a_key_file_that_cannot_be_written_is_told(file, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(scheduler_file, "replace", full)
    with pytest.raises(StartupError, match=r"cluster.json.pem|scheduler.json.pem cannot be written: No space left"):
        scheduler_file.variables(scheduler_file.read(str(file)))


@contextlib.contextmanager
def serving(keys):
    """Run a scheduler with these keys; yield what a scheduler file says of it."""
    from distributed import Scheduler

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start():
        places = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
        return await Scheduler(**places, protocol="tls://", security=keys.security(), dashboard=False)

    scheduler = asyncio.run_coroutine_threadsafe(start(), loop).result(60)
    try:
        yield {"address": scheduler.address, "id": scheduler.id}
    finally:
        asyncio.run_coroutine_threadsafe(scheduler.close(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        loop.close()


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(wait, "CONNECT", 0.5)
    monkeypatch.setattr(wait, "_APPEARS", 0.0)


def fill(file, **content):
    file.write_text(json.dumps({**json.loads(file.read_text()), **content}))


def test_keys_of_a_stale_file_are_not_given(file, impatient, capsys):
    with pytest.raises(StartupError, match="does not answer"):
        attach._keys([str(file)])
    assert capsys.readouterr().out == ""
    assert not os.path.exists(run_directory.key_file(str(file)))


def test_a_stale_file_that_a_new_run_replaces_is_waited_for(file, keys, impatient, monkeypatch, capsys):
    refuse = wait.FileSearch.no_answer
    monkeypatch.setattr(wait, "_APPEARS", 60.0)
    with serving(keys) as new:

        def refuse_and_replace(self, entry, error):
            refuse(self, entry, error)
            fill(file, **new)
            # Dask gives the first attempt a fifth of it; one that is cut short leaves its socket behind.
            monkeypatch.setattr(wait, "CONNECT", 300.0)

        monkeypatch.setattr(wait.FileSearch, "no_answer", refuse_and_replace)
        assert attach._keys([str(file)]) == 0
        assert f"export DASK_SCHEDULER_ADDRESS={new['address']}\n" in capsys.readouterr().out


def test_a_scheduler_of_another_run_is_refused(file, keys, monkeypatch):
    """It may have got the port of the one that the file tells of."""
    monkeypatch.setattr(wait, "_APPEARS", 0.0)
    with serving(keys) as another:
        fill(file, address=another["address"])
        with pytest.raises(StartupError, match=f"another scheduler answers there: {another['id']}, not x"):
            attach._keys([str(file)])
