"""Which keys a cluster has, where they lie, who gets to see them; no process is started."""

from __future__ import annotations

import stat
from types import SimpleNamespace

import dask
import pytest
from distributed import Status
from distributed.security import Security

from mpidask.batch import leases
from mpidask.batch.job_state import JobState
from mpidask.batch.status import Standing
from mpidask.errors import ArgumentError, BatchError, UsageError
from mpidask.jobqueue import SLURMJob
from mpidask.jobqueue.cluster import scheduler_options
from mpidask.jobqueue.cluster.jobs_page import JobsPage
from mpidask.jobqueue.jobs import keys
from mpidask.security import credentials

pytestmark = pytest.mark.one_mpi

KEYS = credentials.make()
SIZE = {"cores": 1, "memory": "1GB", "python": "python3"}


@pytest.fixture(autouse=True)
def nobodys_configuration(monkeypatch):
    """The defaults count, whatever whoever runs the tests has configured."""
    monkeypatch.setattr(credentials, "make", lambda: KEYS)
    with dask.config.set({"mpidask.tls": None, "distributed.comm.tls.ca-file": None}):
        yield


# Whether there is TLS, and with what.


@pytest.mark.parametrize("protocol", [None, "tcp", "tcp://", "tls", "tls://"])
def test_tls_is_the_default_whatever_dask_jobqueue_s_users_type(protocol):
    tls = keys.settle(protocol, security=None)
    assert tls.keys == KEYS
    assert tls.security.require_encryption
    assert tls.protocol.startswith("tls")


@pytest.mark.parametrize("protocol", [None, "tcp", "tcp://"])
def test_tls_can_be_switched_off(protocol):
    assert keys.settle(protocol, security=False) == keys.Tls(None, protocol)
    with dask.config.set({"mpidask.tls": False}):
        assert keys.settle(protocol, security=None) == keys.Tls(None, protocol)


def test_what_is_given_goes_before_the_configuration():
    with dask.config.set({"mpidask.tls": False}):
        assert keys.settle(None, security=True).keys == KEYS
        assert keys.settle("tls://", security=None).keys == KEYS


def test_a_switch_that_is_none_is_refused():
    with dask.config.set({"mpidask.tls": "perhaps"}), pytest.raises(UsageError, match=r"mpidask\.tls"):
        keys.settle(None, security=None)


def test_protocols_that_cannot_be_encrypted_are_left_to_dask():
    assert keys.settle("ucx://", security=None) == keys.Tls(None, "ucx://")


@pytest.mark.parametrize(("security", "protocol"), [(True, "tcp://"), (True, "tcp"), (False, "tls://"), (False, "tls")])
def test_contradictions_are_refused(security, protocol):
    with pytest.raises(ArgumentError, match="contradict each other"):
        keys.settle(protocol, security=security)


def test_keys_of_the_user_s_own_are_used():
    own = Security.temporary()
    assert keys.settle(None, security=own) == keys.Tls(own, "tls://")
    with dask.config.set({"distributed.comm.tls.ca-file": "/ca.pem", "distributed.comm.tls.worker.cert": "/w.pem"}):
        tls = keys.settle("tcp://", security=None)
        assert (tls.keys, tls.protocol) == (None, "tls://")
        assert keys.tls_arguments(tls.security, "worker") == ["--tls-ca-file", "/ca.pem", "--tls-cert", "/w.pem"]
        assert keys.settle(None, security=True).keys == KEYS


def test_a_security_of_another_kind_is_refused():
    with pytest.raises(ArgumentError, match=r"a distributed\.Security|security is"):
        keys.settle(None, security="yes")


def test_without_cryptography_there_is_a_remedy(monkeypatch):
    def missing():
        raise RuntimeError("no cryptography")

    monkeypatch.setattr(credentials, "make", missing)
    with pytest.raises(ArgumentError, match="cryptography") as caught:
        keys.settle(None, security=None)
    assert "security=False" in caught.value.remedy


# Files.


class Desk:
    """What stands in for a dispatcher."""

    def __init__(self):
        self.lease = leases.create("local", "Test")

    def guarded(self):
        return self.lease


@pytest.fixture
def desk(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return Desk()


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def secrets(place):
    return sorted(place.glob(".dask-jobqueue.*"))


def test_keys_are_files_of_the_user_alone_until_the_end(desk):
    files = keys.KeyFiles(KEYS.security(), None, desk.guarded)
    directory = desk.lease.directory
    assert secrets(directory) == [], "not before they are needed"
    written = files.security
    assert [path.name.split(".")[2:4] for path in secrets(directory)] == [
        ["worker", each] for each in ("ca_file", "cert", "key")
    ]
    assert {mode(path) for path in secrets(directory)} == {0o600}
    assert mode(directory) == 0o700
    with open(written.tls_worker_key) as file:
        assert file.read() == KEYS.key
    assert files.security is written, "once"
    desk.lease.note_released()
    assert secrets(directory) == []


def test_in_a_shared_directory_keys_have_one_of_their_own(desk, tmp_path, monkeypatch):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    (shared / ".dask-jobqueue.other").write_text("another cluster's")
    monkeypatch.setenv("PLACE", str(shared))
    made = keys.KeyFiles(KEYS.security(), "$PLACE", desk.guarded, ("worker", "scheduler")).security
    (place,) = [path for path in secrets(shared) if path.is_dir()]
    assert mode(place) == 0o700
    assert len(secrets(place)) == 5 and made.tls_worker_key.startswith(str(place)), "one of them is the same for both"
    leases.read(desk.lease.directory).remove_keys()
    assert [path.name for path in secrets(shared)] == [".dask-jobqueue.other"]
    assert not list(desk.lease.directory.glob(".*"))


def test_others_may_put_something_else_in_the_place_of_the_keys_directory(desk, tmp_path):
    """Whoever may write where it lies can do that; what is not ours is left alone."""
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "results").write_text("of a year")
    (tmp_path / "keys").symlink_to(theirs)
    desk.lease.note_keys(tmp_path / "keys")
    desk.lease.note_keys(theirs)
    desk.lease.note_keys(tmp_path / "gone")
    desk.lease.remove_keys()
    assert (theirs / "results").read_text() == "of a year"


def test_a_directory_that_others_can_read_is_refused(desk):
    desk.lease.directory.chmod(0o750)
    with pytest.raises(BatchError, match="has mode 750: others could read keys") as caught:
        _ = keys.KeyFiles(KEYS.security(), None, desk.guarded).security
    assert "shared_temp_directory" in caught.value.remedy
    assert secrets(desk.lease.directory) == []


def test_a_file_system_without_permissions_is_refused(desk, tmp_path, monkeypatch):
    monkeypatch.setattr(keys.Path, "mkdir", lambda path, mode: __import__("os").mkdir(path, 0o755))
    with pytest.raises(BatchError, match="others could read keys"):
        _ = keys.KeyFiles(KEYS.security(), str(tmp_path), desk.guarded).security
    assert not [path for place in secrets(tmp_path) for path in secrets(place)]


def test_a_shared_directory_that_is_not_there(desk, tmp_path):
    with pytest.raises(BatchError, match="cannot be written") as caught:
        _ = keys.KeyFiles(KEYS.security(), str(tmp_path / "missing"), desk.guarded).security
    assert "shared_temp_directory" in caught.value.remedy


def test_keys_in_files_stay_where_they_are(desk):
    own = Security(tls_ca_file="/ca.pem", tls_worker_cert="/w.pem", tls_worker_key="/w.key")
    files = keys.KeyFiles(own, None, desk.guarded)
    assert keys.tls_files(files.security, "worker") == {"ca_file": "/ca.pem", "cert": "/w.pem", "key": "/w.key"}
    assert secrets(desk.lease.directory) == []


def test_a_job_is_given_paths_and_never_keys():
    with pytest.raises(ArgumentError, match="would stand in the job script"):
        SLURMJob("tls://10.0.0.1:8786", "w-0", security=KEYS.security(), **SIZE)


def test_the_keys_of_a_program_that_was_killed_go_even_if_the_batch_system_is_silent(desk, monkeypatch):
    def silent(*words):
        raise BatchError("no answer")

    _ = keys.KeyFiles(KEYS.security(), None, desk.guarded).security
    monkeypatch.setattr(leases, "living", silent)
    with pytest.raises(BatchError):
        desk.lease.release()
    assert secrets(desk.lease.directory) == []


def test_a_key_is_not_taken_for_a_log(tmp_path):
    """Its name ends in letters and digits, which may be the job's id."""
    for name in (".dask-jobqueue.worker.key.abcde_12", "slurm-12.out"):
        (tmp_path / name).write_text(name)
    job = SLURMJob("tls://10.0.0.1:8786", "w-0", **SIZE)
    job.id, job.directory = "12", tmp_path
    assert job.system_log == "slurm-12.out"


# What the scheduler is told.


def test_the_scheduler_s_arguments():
    tls = keys.settle(None, security=None)
    ours = scheduler_options.arguments({}, tls, "ib0")
    assert ours["dashboard_address"].startswith("127.0.0.1:")
    assert (
        len(ours["http_prefix"]) > 20
        and ours["http_prefix"] != scheduler_options.arguments({}, tls, None)["http_prefix"]
    )
    assert (ours["protocol"], ours["interface"]) == ("tls://", "ib0")
    given = {"dashboard_address": ":8787", "http_prefix": "/", "host": "tcp://10.0.0.1", "contact_address": "tcp://a:1"}
    theirs = scheduler_options.arguments(given, tls, "ib0")
    assert theirs["dashboard_address"] == ":8787" and theirs["http_prefix"] == "/"
    assert (theirs["host"], theirs["contact_address"]) == ("tls://10.0.0.1", "tls://a:1")
    assert "interface" not in theirs
    assert scheduler_options.arguments(given, keys.Tls(None, None), None)["host"] == "tcp://10.0.0.1"


@pytest.mark.parametrize(
    ("shown", "options", "link"),
    [
        ("http://10.0.0.1:8787/status", {"http_prefix": "x"}, "http://10.0.0.1:8787/x/status"),
        (
            "http://10.0.0.1:8787/status",
            {"dashboard_address": "127.0.0.1:0", "http_prefix": "/x/"},
            "http://127.0.0.1:8787/x/status",
        ),
        ("http://10.0.0.1:8787/status", {"dashboard_address": ":8787"}, "http://10.0.0.1:8787/status"),
        ("http://10.0.0.1:8787/status", {"http_prefix": "/"}, "http://10.0.0.1:8787/status"),
        (
            "https://hub.site/user/u/proxy/8787/status",
            {"dashboard_address": "127.0.0.1:8787", "http_prefix": "x"},
            "https://hub.site/user/u/proxy/8787/x/status",
        ),
        ("", {"dashboard_address": "127.0.0.1:8787", "http_prefix": "x"}, ""),
    ],
)
def test_the_link_has_the_prefix_and_the_host_where_it_listens(shown, options, link):
    assert scheduler_options.link(shown, options) == link


# The page "Ranks".


def job(number, state, *, workers=(), cancelled=False, reason=None, restarts=0):
    """Return a stand-in for a job."""
    return SimpleNamespace(
        id=str(number),
        state=state,
        standing=Standing(id=str(number), state=state, reason=reason),
        cancelled=cancelled,
        restarts=restarts,
        among=lambda names: names & set(workers),
    )


def scheduler(**workers):
    """Return a stand-in for a scheduler with these workers, name -> address."""
    status = Status.running
    return SimpleNamespace(
        workers={
            address: SimpleNamespace(
                address=address,
                name=name,
                host="n1",
                pid=7,
                nthreads=2,
                metrics={"memory": 100},
                executing={},
                processing={},
                services={"dashboard": 1},
                memory_limit=1000,
                status=status,
            )
            for name, address in workers.items()
        }
    )


def test_the_page_has_a_row_for_each_worker_and_for_each_job_without():
    jobs = [
        job(11, JobState.RUNNING, workers=["w-0-0", "w-0-1"]),
        job(12, JobState.PENDING, reason="other jobs come first"),
        job(13, JobState.RUNNING, workers=["w-2"]),
    ]
    ended = [
        job(9, JobState.FAILED, reason="out of memory"),
        job(10, JobState.FAILED, cancelled=True),
        job(8, JobState.DONE),
    ]
    page = JobsPage(lambda: jobs, lambda: ended)
    dask_scheduler = scheduler(**{"w-0-0": "tls://1", "w-0-1": "tls://2", "other": "tls://3"})
    for address, worker in dask_scheduler.workers.items():
        page.add_worker(dask_scheduler, address)
        assert not worker.services, "it has no pages to link to"
    rows = [(row.place, row.worker, row.state, row.message) for row in page.rows()]
    assert rows == [
        ("9", "", "failed", "out of memory"),
        ("11", "w-0-0", "running", ""),
        ("11", "w-0-1", "running", ""),
        ("12", "", "pending", "other jobs come first"),
        ("13", "", "starting", ""),
        ("", "other", "running", ""),
    ]
    row = page.rows()[1]
    assert (row.node, row.role, row.pid, row.threads, row.memory, row.memory_limit) == ("n1", "worker", 7, 2, 100, 1000)


def test_the_page_tells_of_workers_that_were_started_again():
    mine = job(11, JobState.RUNNING, workers=["w-0"])
    page = JobsPage(lambda: [mine], list)
    page.add_worker(scheduler(**{"w-0": "tls://1"}), "tls://1")
    page.remove_worker(None, "tls://1", stimulus_id="x")
    (row,) = page.rows()
    assert (row.place, row.worker, row.state, row.restarts) == ("11", "w-0", "gone", 0)
    assert row.message.startswith("gone since")
    page.add_worker(scheduler(**{"w-0": "tls://2"}), "tls://2")
    (row,) = page.rows()
    assert (row.pid, row.restarts) == (7, 1)
    assert row.message.startswith("started again at")
    mine.restarts = 2
    assert page.rows()[0].restarts == 3, "jobs in whose place this one is count, too"
