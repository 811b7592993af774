"""Connections that break, of workers that are alive; TLS connections that do not disturb each other."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
from distributed import Scheduler
from harness import MPI, PATIENCE
from selection import some

from mpidask.compat import lost_connections
from mpidask.launch.servers import log_filters
from mpidask.security import credentials, tls_sockets

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")


# ------------------------------------------------------------------ steady sockets
class Fails:
    """An operation that fails a few times."""

    def __init__(self, *errors):
        self.errors, self.calls = list(errors), 0

    def __call__(self):
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return b"data"


RESET, BROKEN, WRONG = ConnectionResetError(104, "reset"), BrokenPipeError(32, "pipe"), ssl.SSLError(1, "wrong version")


@pytest.mark.parametrize("error", [RESET, BROKEN, WRONG, ssl.SSLEOFError(8, "EOF")])
def test_an_error_that_another_connection_has_left_is_not_this_one_s(error):
    assert tls_sockets._again(operation := Fails(error)) == b"data"
    assert operation.calls == 2


@pytest.mark.parametrize("second", [RESET, BROKEN, WRONG, ssl.SSLEOFError(8, "EOF")])
def test_an_error_of_its_own_is_told_as_it_was_first(second):
    with pytest.raises(ConnectionResetError):
        tls_sockets._again(operation := Fails(RESET, second))
    assert operation.calls == 2


@pytest.mark.parametrize("error", [ssl.SSLWantReadError(2, "read"), ssl.SSLWantWriteError(3, "write")])
def test_a_connection_without_data_is_asked_once(error):
    with pytest.raises(type(error)):
        tls_sockets._again(operation := Fails(error))
    assert operation.calls == 1
    with pytest.raises(type(error)):
        tls_sockets._again(Fails(RESET, error))


def pair(security):
    """Return both ends of a connection."""
    ours, theirs = socket.socketpair()
    found = {}
    listen = security.get_listen_args("scheduler")["ssl_context"]
    connect = security.get_connection_args("worker")["ssl_context"]
    accept = threading.Thread(
        target=lambda: found.update(end=listen.wrap_socket(ours, server_side=True, suppress_ragged_eofs=False))
    )
    accept.start()
    client = connect.wrap_socket(theirs, suppress_ragged_eofs=False)
    accept.join(60)
    return found["end"], client


def own_security(tmp_path):
    """Return keys of a user's own, in files."""
    from distributed.security import Security

    keys = credentials.make()
    (tmp_path / "cert").write_text(keys.certificate)
    (tmp_path / "key").write_text(keys.key)
    names = {f"tls_{role}_{part}": str(tmp_path / part) for role in ("scheduler", "worker") for part in ("cert", "key")}
    return Security(tls_ca_file=str(tmp_path / "cert"), require_encryption=True, **names)


@pytest.mark.parametrize("made", [True, False], ids=["keys of the run", "keys of the user"])
@pytest.mark.parametrize("how", ["end", "unread", "written"])
def test_a_connection_that_breaks_leaves_the_next_one_alone(how, made, tmp_path):
    """The fault needs Python from 3.12.9 and OpenSSL from 3.4: ./do matrix has both."""
    tls_sockets.mend()
    security = credentials.make().security() if made else own_security(tmp_path)
    broken, healthy = pair(security), pair(security)
    assert {type(each) for each in (*broken, *healthy)} == {tls_sockets.SteadySocket}
    for end, _ in (broken, healthy):
        end.setblocking(False)
    if how == "unread":
        broken[0].write(b"hello")
    socket.socket(fileno=broken[1].detach()).close()
    with contextlib.suppress(OSError):
        for _ in range(3 if how == "written" else 0):
            broken[0].write(b"x")
    with contextlib.suppress(OSError):
        broken[0].read(10)
    with pytest.raises(ssl.SSLWantReadError):
        healthy[0].read(10)
    healthy[1].write(b"data")
    assert healthy[0].read(10) == b"data"
    for each in (broken[0], *healthy):
        each.close()


def test_nothing_but_dask_s_connections_is_changed():
    tls_sockets.mend()
    assert ssl.create_default_context().sslsocket_class is ssl.SSLSocket


# ------------------------------------------------------------------- workers
CUT = """
import sys, time
from distributed import Client

client = Client()
workers = lambda: {w["name"]: address for address, w in client.scheduler_info(n_workers=-1)["workers"].items()}
before = now = workers()

def cut(dask_worker):
    dask_worker.loop.add_callback(dask_worker.batched_stream.comm.abort)

def cut_there(dask_scheduler):
    next(iter(dask_scheduler.stream_comms.values())).comm.abort()

async def forget(dask_scheduler):
    await dask_scheduler.remove_worker(next(iter(dask_scheduler.workers)), stimulus_id="test", close=False)

if sys.argv[1] == "worker":
    client.run(cut, workers=[next(iter(client.scheduler_info()["workers"]))])
else:
    client.run_on_scheduler(cut_there if sys.argv[1] == "scheduler" else forget)
deadline = time.monotonic() + 120
while (now == before or now.keys() != before.keys()) and time.monotonic() < deadline:
    time.sleep(0.05)
    now = workers()
gone = [name for name in before if now.get(name) != before[name]]
time.sleep(3)  # should it leave again
print(len(gone), workers() == now, sum(client.gather(client.map(lambda x: x, range(10)))))
"""


SHAPES = [(1, []), (4, []), (4, ["--no-nanny"]), (2, ["--workers-per-rank", "2"])]
CUTS = [(n, options, side) for n, options in SHAPES for side in ("worker", "scheduler", "forgotten")]
FEW = [(1, [], "scheduler"), (4, ["--no-nanny"], "worker")]


@pytest.mark.parametrize(("n", "options", "side"), some(CUTS, FEW))
def test_a_worker_whose_connection_breaks_comes_back(ranks, n, options, side):
    result = ranks(n, *options, ranks.script(CUT), side)
    assert (result.status, result.stdout) == (0, "1 True 45\n"), result
    (line,) = result.words
    assert "lost its connection to the scheduler; it is started again" in line, result
    assert result.leftover == ranks.leftovers() == [], result


LEAVES = """
import os, time
from distributed import Client

client = Client()
client.run(lambda dask_worker: dask_worker.loop.add_callback(dask_worker.close), workers=[next(iter(client.scheduler_info()["workers"]))])
while not os.path.exists("go.py"):
    time.sleep(0.1)
"""


class Remembers:
    """A scheduler with these events, or one that does not answer, at first or at all."""

    address = "tls://127.0.0.1:1"

    def __init__(self, *events, busy=0.0):
        self.found, self.busy = events, busy

    async def events(self, topic):
        busy, self.busy = self.busy, 0.0
        await asyncio.sleep(busy)
        if None in self.found:
            raise OSError(topic)
        return [(0.0, event) for event in self.found]


REMOVED, RETIRED_EVENT = {"action": "remove-worker", "expected": False}, {"action": "remove-worker", "expected": True}


@pytest.mark.parametrize(
    ("events", "needed"),
    [
        ([], True),
        ([REMOVED], True),
        ([RETIRED_EVENT], False),
        ([RETIRED_EVENT, REMOVED], True),
        ([{"action": "add-worker"}, RETIRED_EVENT], False),
        ([None], False),
    ],
)
def test_a_scheduler_that_has_sent_a_worker_away_does_not_need_it(events, needed):
    assert asyncio.run(lost_connections.is_needed(Remembers(*events), "tls://1.2.3.4:5")) is needed


@pytest.mark.one_mpi
def test_a_scheduler_that_takes_connections_has_time_to_answer(monkeypatch):
    monkeypatch.setattr(lost_connections, "_SOON", 0.3)
    scheduler = Remembers(busy=60)
    assert not asyncio.run(lost_connections.is_needed(scheduler, "tls://1.2.3.4:5"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        scheduler = Remembers(busy=60)
        scheduler.address = f"tls://127.0.0.1:{server.getsockname()[1]}"
        assert asyncio.run(lost_connections.is_needed(scheduler, "tls://1.2.3.4:5"))


RETIRED = """
import time
from distributed import Client

client = Client()
addresses = list(client.scheduler_info(n_workers=-1)["workers"])
client.retire_workers(addresses[:1])
time.sleep(6)
print(len(client.scheduler_info(n_workers=-1)["workers"]))
"""


@pytest.mark.parametrize("options", some([[], ["--no-nanny"]], [[]]))
def test_a_worker_that_is_retired_stays_away(ranks, options):
    result = ranks(5, *options, ranks.script(RETIRED))
    assert (result.status, result.stdout, result.words) == (0, "2\n", []), result


@pytest.mark.slow("waits for a worker that does not come back")
@pytest.mark.thorough
@pytest.mark.one_mpi
def test_a_worker_that_leaves_for_good_is_reported(ranks):
    run = ranks.start(4, ranks.script(LEAVES))
    run.wait_for("has left and not come back within 45 s", timeout=90, file="err")
    ranks.script("", "go.py")
    result = run.result()
    (line,) = result.words
    assert "has left and not come back within 45 s; 1 worker is left" in line, result


JOBS = """
import os, time
from distributed import Client
from mpidask import LocalJobCluster

if __name__ == "__main__":
    with LocalJobCluster(cores=2, processes=2, memory="2GB", walltime="00:05:00") as cluster, Client(cluster) as client:
        cluster.scale(jobs=1)
        client.wait_for_workers(2, timeout=60)
        pids = lambda: set(client.run(os.getpid, on_error="ignore").values())  # one may be about to leave
        before = pids()
        client.run(
            lambda dask_worker: dask_worker.loop.add_callback(dask_worker.batched_stream.comm.abort),
            workers=[next(iter(client.scheduler_info(n_workers=-1)["workers"]))],
        )
        deadline = time.monotonic() + 120
        while (len(now := pids()) < 2 or now == before) and time.monotonic() < deadline:
            time.sleep(0.1)
        print(len(now), len(now & before), "lost its connection" in str(cluster.get_logs()))
"""


@pytest.mark.thorough
@pytest.mark.one_mpi
def test_a_job_s_worker_comes_back_and_the_temporary_directory_is_left_empty(ranks):
    state = {"XDG_STATE_HOME": str(ranks.directory / "state")}
    result = ranks(0, command=[sys.executable, ranks.script(JOBS)], environ=state, timeout=100)
    assert (result.status, result.stdout) == (0, "2 1 True\n"), result
    assert result.leftover == ranks.leftovers() == [], result


# -------------------------------------------------------------------- clients
CLIENTS = """
import asyncio, threading, time
from distributed import Client

class Mine(Client):
    async def _reconnect(self):
        open("reconnects.py", "a").close()
        await super()._reconnect()

first, second = Mine(), Mine()

async def asynchronous():
    async with Mine(asynchronous=True) as client:
        ready.set()
        await asyncio.sleep(100)

ready = threading.Event()
threading.Thread(target=lambda: asyncio.run(asynchronous()), daemon=True).start()
assert ready.wait(60)
print(first.submit(lambda: 42).result())
"""


@pytest.mark.parametrize("n", some([1, 3], [1]))
def test_no_client_connects_again_once_the_script_has_ended(ranks, n):
    result = ranks(n, ranks.script(CLIENTS))
    assert (result.status, result.stdout, result.words) == (0, "42\n", []), result
    assert not (ranks.work / "reconnects.py").exists()


# ----------------------------------------------------------- places and networks
@pytest.mark.parametrize("length", some([66, 90, 130], [130]))
def test_a_long_path_of_the_temporary_directory(ranks, length):
    place = ranks.scratch / ("x" * (length - len(str(ranks.scratch)) - 1))
    place.mkdir()
    result = ranks(
        4,
        ranks.script("from distributed import Client; print(Client().submit(lambda: 42).result())"),
        environ={"TMPDIR": str(place)},
    )
    assert (result.status, result.stdout, result.words) == (0, "42\n", []), result
    assert [path for path in place.iterdir() if not path.name.startswith("ompi.")] == []


@ROOT
@pytest.mark.one_mpi
@pytest.mark.parametrize("n", [0, 3])
def test_without_a_loopback_interface_the_remedy_is_told(ranks, n):
    script = ranks.script("print('never')")
    launcher = [MPI.mpirun, "-n", str(n)] if n else []
    command = ["unshare", "--net", *launcher, sys.executable, "-m", "mpidask", script]
    done = subprocess.run(command, cwd=ranks.work, capture_output=True, text=True, timeout=60 * PATIENCE, check=False)
    assert done.returncode != 0, done
    assert done.stdout == "", done
    assert "cannot reach each other at 127.0.0.1" in done.stderr, done
    assert "ip link set lo up" in done.stderr, done


@pytest.mark.one_mpi
def test_a_handshake_that_ends_after_its_server_is_no_news(caplog):
    log_filters.ignore_lost_peers()
    for said in ("invalid operation on non-started TCPListener", "something else"):
        try:
            raise ValueError(said)
        except ValueError:
            logging.getLogger("tornado.application").exception("Exception in callback")
    assert [str(each.exc_info[1]) for each in caplog.records] == ["something else"]


@pytest.mark.one_mpi
def test_a_scheduler_that_was_stopped_with_its_workers_restarts_none(monkeypatch):
    async def main():
        settings = {"dashboard": False, "dashboard_address": "127.0.0.1:0", "worker_ttl": 300}
        async with Scheduler(host="127.0.0.1", **settings) as scheduler:
            now, looked = [100.0], []

            async def look():
                looked.append(now[0])

            monkeypatch.setattr(scheduler, "check_worker_ttl", look)
            monkeypatch.setattr(lost_connections, "time", SimpleNamespace(monotonic=lambda: now[0]))
            lost_connections.forgive_a_stop(scheduler)
            check = scheduler.periodic_callbacks["worker-ttl"]
            assert check.is_running()
            for seconds in (300, 303, 4000, 300):  # in time, on a busy machine, after SIGSTOP, in time
                now[0] += seconds
                await check.callback()
            assert looked == [400, 703, 5003], "the look after the stop is left out"

    asyncio.run(main())
