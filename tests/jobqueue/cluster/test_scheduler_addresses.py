"""At which of its addresses jobs join the scheduler: those of its machine are tried, the fastest network first."""

from __future__ import annotations

import signal
import socket
import sys
import types

import pytest

from mpidask.addresses import interfaces, reachability
from mpidask.jobqueue import SLURMJob, worker
from mpidask.jobqueue.cluster import scheduler_options
from mpidask.jobqueue.cluster.job_factory import JobFactory
from mpidask.jobqueue.jobs.worker_command import worker_command

pytestmark = [pytest.mark.one_mpi, pytest.mark.usefixtures("nobodys_place")]

SHOWN = "tls://192.168.1.7:40001"  # Dask's choice
FAST, SLOW = "tls://10.0.0.1:40001", SHOWN


@pytest.fixture(autouse=True)
def _two_networks(monkeypatch):
    monkeypatch.setattr(interfaces, "addresses", lambda name: [("ib0", "10.0.0.1"), ("eth0", "192.168.1.7")])


def stream(address):
    """A scheduler's connection to a worker, which has come in at an address."""
    return types.SimpleNamespace(comm=types.SimpleNamespace(local_address=address))


def scheduler(*used, **given):
    streams = {f"tls://10.0.0.9:{number}": stream(address) for number, address in enumerate(used)}
    return types.SimpleNamespace(address=SHOWN, stream_comms=streams, **given)


@pytest.mark.parametrize(
    ("shown", "options", "expected"),
    [
        (SHOWN, {}, [FAST, SLOW]),
        ("tls://1.2.3.4:40001", {}, [FAST, SLOW, "tls://1.2.3.4:40001"]),
        ("tls://[fd00::1]:40001", {}, [FAST, SLOW, "tls://[fd00::1]:40001"]),
        (SHOWN, {"interface": "eth0"}, [SHOWN]),
        (SHOWN, {"interface": None, "host": "192.168.1.7"}, [SHOWN]),
        (SHOWN, {"contact_address": SHOWN}, [SHOWN]),
        ("ucx://192.168.1.7:40001", {}, ["ucx://192.168.1.7:40001"]),
    ],
)
def test_all_addresses_of_the_machine_are_offered_unless_one_is_named(shown, options, expected):
    assert scheduler_options.everywhere(shown, options) == expected


def test_what_a_first_job_has_found_comes_first_for_the_next_ones():
    assert scheduler_options.candidates(scheduler(), {}) == [FAST, SLOW]
    assert scheduler_options.candidates(scheduler(SLOW, SLOW), {}) == [SLOW, FAST]
    gone = scheduler()
    gone.stream_comms["tls://10.0.0.9:1"] = types.SimpleNamespace(comm=None)
    assert scheduler_options.candidates(gone, {}) == [FAST, SLOW]


def test_a_scheduler_in_a_job_says_itself_where_it_is():
    assert scheduler_options.candidates(scheduler(everywhere=[FAST]), {}) == [FAST]
    assert scheduler_options.candidates(types.SimpleNamespace(address="", everywhere=[]), {}) == []
    assert scheduler_options.candidates(None, {}) == []


def command(*addresses, **given):
    factory = JobFactory(SLURMJob, {"cores": 1, "memory": "1GB", **given}, None)
    return worker_command(factory.make(None, SHOWN, addresses).spec)


def test_the_job_tries_them():
    words = command(FAST, SLOW)
    assert f"{sys.executable} -m mpidask.jobqueue.worker {FAST},{SLOW} --name " in words


@pytest.mark.parametrize(
    ("addresses", "given", "module"),
    [
        ([SHOWN], {}, "distributed.cli.dask_worker"),
        ([FAST, SLOW], {"python": "/opt/python"}, "distributed.cli.dask_worker"),
        ([FAST, SLOW], {"worker_command": "dask_cuda.cli"}, "dask_cuda.cli"),
    ],
)
def test_a_command_that_cannot_try_gets_dasks_choice(addresses, given, module):
    assert f"-m {module} {SHOWN} --name " in command(*addresses, **given)


@pytest.fixture
def started(monkeypatch):
    """What Dask's command is given; nothing is started."""
    given = []
    monkeypatch.setattr(worker.dask_worker, "main", given.append)
    return given


@pytest.mark.parametrize(
    ("own", "host"), [([], ["--host", "127.0.0.1"]), (["--interface", "lo"], []), (["--host=127.0.0.9"], [])]
)
def test_a_worker_joins_where_it_gets_through(started, capsys, own, host):
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address, other = (f"tcp://127.0.0.1:{each.getsockname()[1]}" for each in (listening, closed))
        worker.main([f"{other},{address}", "--name", "w", *own, "--local-directory", "/tmp"])
    assert started[0] == [address, "--name", "w", *own, "--local-directory", "/tmp", *host]
    assert f"reaches the scheduler at {address} from 127.0.0.1" in capsys.readouterr().err


def test_a_worker_that_is_told_to_end_before_it_has_begun_ends(monkeypatch):
    """A batch system may say it once alone, and nobody says it again where there is none."""
    monkeypatch.setattr(worker.dask_worker, "main", lambda words: signal.raise_signal(signal.SIGTERM))
    monkeypatch.setattr(worker.dask_worker, "wait_for_signals", worker.dask_worker.wait_for_signals)  # it is put back
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as ended:
            worker.main(["tcp://127.0.0.1:1", "--local-directory", "/tmp"])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.value.code == 143


def test_a_worker_that_gets_nowhere_says_so_in_the_jobs_log(started, monkeypatch, capsys):
    monkeypatch.setattr(reachability, "_ROUNDS", 1)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(SystemExit) as ended:
            worker.main([f"{address},{address}", "--name", "w"])
    assert ended.value.code == 69
    assert not started
    said = capsys.readouterr().err
    assert "reaches none of the scheduler's addresses" in said
    assert "mpidask docs no-common-network" in said
