"""What is on disks is the user's alone, and nothing that another user has put there is followed or waited for."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from harness import MPI, PATIENCE

from mpidask import files
from mpidask.batch import leases
from mpidask.batch.job_state import JobId
from mpidask.batch.records import store
from mpidask.errors import BatchError, StartupError
from mpidask.files import make_private
from mpidask.launch.resources import scratch
from mpidask.security import scheduler_file

NOBODY, DAEMON = 65534, 1
as_root = pytest.mark.skipif(os.getuid() != 0, reason="files of other users are made by root")
OPEN = stat.S_IRWXG | stat.S_IRWXO


@pytest.fixture(autouse=True)
def _deadline():
    """End a test that waits for a FIFO."""

    def late(*_):
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(90 * PATIENCE)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def no_umask():
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def common(tmp_path):
    """Return a directory like /tmp, which all users can reach."""
    place = tmp_path / "common"
    place.mkdir()
    place.chmod(0o1777)
    for each in (tmp_path, *tmp_path.parents[:3]):
        if each.stat().st_uid == os.getuid() and each.name.startswith(("pytest-", "test_")):
            each.chmod(0o755)
    return place


def planted(path, user):
    os.chown(path, user, user, follow_symlinks=False)
    return path


def run_as(user, code, *arguments):
    """Run Python code as another user; its imports are done before."""
    imports = "import os, sys, tempfile\nfrom mpidask import errors, files\nfrom mpidask.security import scheduler_file\nfrom mpidask.launch.resources import scratch\n"
    drop = f"os.setgroups([]); os.setresgid(*[{user}] * 3); os.setresuid(*[{user}] * 3)\n"
    words = [sys.executable, "-c", imports + drop + textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(
        words, capture_output=True, text=True, timeout=30 * PATIENCE, check=True, cwd="/"
    ).stdout.strip()


def open_to_others(place):
    """Return what below a directory others could read or change, with its mode."""
    return {str(path): oct(path.lstat().st_mode) for path in [place, *place.rglob("*")] if is_open(path)}


def is_open(path):
    mode = path.lstat().st_mode
    return not stat.S_ISLNK(mode) and bool(mode & OPEN)


# ------------------------------------------------------------------ what a run makes
LOOK = """
import os, stat
from pathlib import Path
from distributed import Client
client = Client()
client.submit(sum, [1, 2]).result()
files = [Path("cluster.json"), *Path(os.environ["TMPDIR"]).glob("mpidask-*")]
shared = [path for path in Path("/dev/shm").iterdir() if path.name not in BEFORE]
print(len(files), [(str(path), oct(path.stat().st_mode)) for path in files + shared if path.stat().st_mode & 0o077])
"""


def test_a_run_under_an_open_umask(ranks):
    script = ranks.script(LOOK.replace("BEFORE", str(sorted(ranks.segments_before))))
    words = f"umask 0; exec {MPI.mpirun} -n 3 {sys.executable} -m mpidask --scheduler-file cluster.json {script}"
    result = ranks(0, command=["sh", "-c", words])
    assert (result.status, result.stdout, result.words) == (0, "3 []\n", []), result
    assert not ranks.leftovers(), result


# ------------------------------------------------------------------- records of jobs
def test_the_state_directory_is_private_whatever_the_umask(tmp_path, monkeypatch, no_umask):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "new" / "state"))
    lease = leases.create("local", "Test")
    lease.add([(1, JobId("17"))])
    lease.note_keys(tmp_path)
    assert open_to_others(tmp_path / "new") == {}


@pytest.mark.parametrize("mode", [0o755, 0o777, 0o2775])
def test_one_that_is_open_is_closed(tmp_path, monkeypatch, mode):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    place = store.home(None, "clusters")
    place.mkdir(parents=True)
    place.chmod(mode)
    leases.create("local", "Test")
    assert stat.S_IMODE(place.stat().st_mode) & OPEN == 0
    assert place.stat().st_mode & stat.S_ISGID == mode & stat.S_ISGID


@as_root
def test_records_that_another_user_has_put_there_are_none(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    lease = leases.create("local", "Test")
    facts = json.loads((lease.directory / "lease.json").read_text())
    (lease.directory / "lease.json").write_text(json.dumps({**facts, "holder": {**facts["holder"], "id": 2**22 + 1}}))
    assert len(leases.orphans()) == 1
    planted(lease.directory, NOBODY)
    assert leases.orphans() == []


@as_root
def test_a_state_directory_of_another_user_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    place = store.home(None, "clusters")
    make_private(place)
    planted(place, NOBODY)
    with pytest.raises(BatchError, match="is another user's") as caught:
        leases.create("local", "Test")
    assert "name another place" in caught.value.remedy


# ------------------------------------------------------------------- scheduler files
def write(path):
    scheduler_file.write(str(path), {"address": "tcp://10.0.0.1:1", "id": "x"}, scheduler_file.About("r1"))


WRITE = """
try:
    scheduler_file.write(sys.argv[1], {"address": "tcp://10.0.0.1:1", "id": "x"}, scheduler_file.About("r1"))
    print("written")
except errors.StartupError as error:
    print(error)
"""


@as_root
@pytest.mark.parametrize("kind", ["symlink", "file", "fifo", "directory"])
def test_a_scheduler_file_that_another_user_has_planted(common, kind):
    """In a directory like /tmp it cannot be replaced; it is neither written to nor followed."""
    target, path = common / "target", common / "scheduler.json"
    target.write_text("precious")
    planted(target, NOBODY)
    plant(path, kind, target)
    planted(path, DAEMON)
    said = run_as(NOBODY, WRITE, path)
    assert "cannot be written" in said, said
    assert target.read_text() == "precious"
    assert sorted(each.name for each in common.iterdir()) == ["scheduler.json", "target"]
    run_as(NOBODY, "files.remove_if_holding('r1', sys.argv[1])", path)
    assert os.path.lexists(path)


def plant(path, kind, target):
    if kind == "symlink":
        path.symlink_to(target)
    elif kind == "fifo":
        os.mkfifo(path, 0o666)
    elif kind == "directory":
        path.mkdir()
    else:
        path.write_text(f"r1\n{target}")
    if kind != "symlink":
        path.chmod(0o777)


def test_a_symlink_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "target").write_text("precious")
    (tmp_path / "scheduler.json").symlink_to(tmp_path / "target")
    write(tmp_path / "scheduler.json")
    assert (tmp_path / "target").read_text() == "precious"
    assert stat.S_IMODE((tmp_path / "scheduler.json").lstat().st_mode) == 0o600
    assert not (tmp_path / "scheduler.json").is_symlink()


def test_nobody_waits_for_a_fifo(tmp_path):
    os.mkfifo(tmp_path / "scheduler.json")
    with pytest.raises(StartupError, match="no plain file"):
        scheduler_file.read(str(tmp_path / "scheduler.json"))
    files.remove_if_holding("r1", str(tmp_path / "scheduler.json"))
    assert (tmp_path / "scheduler.json").is_fifo()


@as_root
def test_another_users_scheduler_is_not_joined(tmp_path):
    """Its file may have no keys: who connects there runs what that user says."""
    write(tmp_path / "scheduler.json")
    assert scheduler_file.read(str(tmp_path / "scheduler.json")).scheduler == "x"
    planted(tmp_path / "scheduler.json", NOBODY)
    with pytest.raises(StartupError, match="another user's"):
        scheduler_file.read(str(tmp_path / "scheduler.json"))


# ------------------------------------------------------------------------- scratch
def test_scratch_where_everybody_can_rename_is_refused(tmp_path):
    loose, good = tmp_path / "loose", tmp_path / "good"
    loose.mkdir()
    loose.chmod(0o777)
    good.mkdir()
    good.chmod(0o1777)
    with pytest.raises(StartupError, match="sticky"):
        scratch.choose(str(loose), {})
    assert scratch.choose(None, {"SLURM_TMPDIR": str(loose), "TMPDIR": str(good)}) == str(good.resolve())


def foreseeable(place, rank, end):
    return place / f"mpidask-{scratch.host_label()}-rank{rank}-{end}"


def test_an_own_directory_with_a_fifo_or_a_link_in_it_is_left_alone(tmp_path):
    """Nothing but a task could have put these there; the sweep does not wait for the one nor follow the other."""
    fifo, link, empty = (foreseeable(tmp_path, 2, end) for end in ("fifo", "link", "empty"))
    for each in (fifo, link, empty):
        each.mkdir(0o700)
    os.mkfifo(fifo / "run")
    (tmp_path / "list").write_text("")
    (link / "run").symlink_to(tmp_path / "list")
    assert not set(os.listdir(tmp_path)) & set(scratch.sweep(str(tmp_path)))


@as_root
def test_a_run_among_things_that_another_user_has_planted(ranks):
    """Under foreseeable names: nothing of it is followed, removed, trusted or waited for."""
    place, victim, segment = ranks.scratch, ranks.work / "victim.py", Path(f"/dev/shm/sem.mp-{os.getpid()}-victim")
    place.chmod(0o1777)
    victim.mkdir()
    (victim / "run").write_text("")
    segment.write_text("")
    ends = ("list", "trap", "fifo", "symlink", "file")
    traps = [foreseeable(place, rank, end) for rank in range(3) for end in ends]
    for trap in traps:
        end = trap.name.rpartition("-")[2]
        if end in ("list", "trap"):
            trap.mkdir()
            plant(trap / "run", {"list": "file", "trap": "fifo"}[end], segment)
            planted(trap / "run", NOBODY)
            trap.chmod(0o777)
        else:
            plant(trap, end, victim)
        planted(trap, NOBODY)
    try:
        result = ranks(3, ranks.script("from distributed import Client\nprint(Client().submit(sum, [1, 2]).result())"))
        assert (result.status, result.stdout, result.words) == (0, "3\n", []), result
        assert not result.leftover, result
        assert segment.exists()
        assert (victim / "run").exists()
        assert all(os.path.lexists(trap) for trap in traps)
        assert sorted(place.iterdir()) == sorted(traps)
    finally:
        segment.unlink()


def test_a_file_of_another_node_is_looked_for_anew(tmp_path, monkeypatch):
    """NFS looks again when the directory is opened."""
    opened, really = [], os.open
    monkeypatch.setattr(
        files.os, "open", lambda path, flags, *more: (opened.append(path), really(path, flags, *more))[1]
    )
    path = tmp_path / "scheduler.json"
    assert not files.is_there(str(path))
    path.touch()
    assert files.is_there(str(path))
    assert opened.count(str(tmp_path)) == 2
    assert not files.is_there(str(tmp_path / "nowhere" / "file"))
