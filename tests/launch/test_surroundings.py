"""Machines, accounts and launchers that are not as usual: what a run makes of them."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import sys

import pytest

from mpidask import files
from mpidask.launch.comm.wakeup import WakeupSocket
from mpidask.launch.resources import scratch
from mpidask.launch.servers import server_start
from mpidask.launch.watchdog import shared_memory

ADD = "from distributed import Client\nprint(Client().submit(sum, [1, 2]).result())"


def test_a_python_without_memfd_create(ranks):
    """As conda-forge's: it is built with an old C library."""
    (ranks.work / "site").mkdir()
    (ranks.work / "site" / "sitecustomize.py").write_text("import os\ndel os.memfd_create\n")
    result = ranks(3, ranks.script(ADD), environ={"PYTHONPATH": str(ranks.work / "site")})
    assert (result.status, result.stdout, result.words) == (0, "3\n", []), result


@pytest.mark.parametrize("refuses", ["python", "the C library", "the kernel"])
def test_a_file_in_memory(monkeypatch, refuses):
    def no(*_):
        raise OSError(errno.EPERM, "refused")

    if refuses == "the kernel":
        monkeypatch.setattr(os, "memfd_create", no)
    else:
        monkeypatch.delattr(os, "memfd_create")
    if refuses == "the C library":
        monkeypatch.setattr(files, "_memfd_create", no)
    descriptor = files.memory_file("keys")
    os.write(descriptor, b"text")
    with open(f"/proc/{os.getpid()}/fd/{descriptor}", "rb") as file:
        assert file.read() == b"text"
    assert os.readlink(f"/proc/self/fd/{descriptor}").endswith(" (deleted)")
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)


#: A launcher that ignores SIGCHLD, as programs in Perl may, and starts what is without standard input.
PARENT = """
import os, signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.close(0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@pytest.mark.parametrize("words", [["-m", "mpidask"], ["-m", "mpidask.cli", "run"], []])
def test_children_that_are_ignored_and_no_standard_input(ranks, words):
    """In a script of one's own, the watchdog's pipe had the number of the standard input, and was lost."""
    if words:
        script = ranks.script(ADD)
    else:  # whose watchdog would end the rank after the time for a start: it has not heard that MPI is up
        start = 'mpidask.Session(exit=True, startup_timeout="5 min").open()'  # the variable is the servers', too
        script = ranks.script(f"import mpidask, time\n{start}\n{ADD}\ntime.sleep(26)")
    command = [sys.executable, "-c", PARENT, *words, script]
    result = ranks(3, command=command, environ={} if words else {"DASK_MPIDASK__STARTUP_TIMEOUT": "25"}, timeout=90)
    assert (result.status, result.stdout, result.words) == (0, "3\n", []), result
    assert not result.leftover, result


def test_a_working_directory_that_is_gone(ranks):
    remove = 'mkdir gone && cd gone && rmdir ../gone && exec "$@"'
    result = ranks(0, command=["sh", "-c", remove, "sh", sys.executable, "-m", "mpidask", "-c", "print(3)"])
    assert (result.status, result.stdout) == (2, ""), result
    assert "gone is not there any more" in result.stderr, result
    assert "Traceback" not in result.stderr, result


def test_a_place_to_spill_that_is_not_utf8(ranks):
    place = os.fsencode(ranks.work) + b"/M\xfcller"
    os.mkdir(place)
    result = ranks(2, "--local-directory", os.fsdecode(place), ranks.script(ADD))
    assert (result.status, result.stdout) == (69, ""), result
    assert "M\\udcfcller' has a name that is not UTF-8" in result.stderr, result
    assert "Traceback" not in result.stderr, result
    os.rmdir(place)


def test_a_place_to_spill_without_locks(monkeypatch, tmp_path):
    """A Lustre file system that is mounted without `flock`."""

    def no(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", no)
    made = scratch.Scratch.make(str(tmp_path), 0, ())
    assert os.path.isdir(made.path)
    made.remove()
    assert os.listdir(tmp_path) == []


def test_many_open_files():
    """select() takes no descriptor beyond 1023."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        socket = WakeupSocket("127.0.0.1")
        assert socket.fileno() > 1023
        assert not socket.wait(0.01)
        socket.close()
    finally:
        for each in taken:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    ("soft", "hard", "raised"),
    [(1024, 4096, 4096), (1024, 1 << 30, 1 << 20), (-1, -1, -1), (1 << 30, 1 << 30, 1 << 30)],
)
def test_how_far_the_limit_on_open_files_is_raised(monkeypatch, soft, hard, raised):
    limits = [(soft, hard)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, both: limits.append(both))
    assert server_start.raise_open_files() == (raised, hard)


def test_where_there_is_no_shared_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(shared_memory, "_PLACE", f"{tmp_path}/none/")
    shared_memory.remove([f"{tmp_path}/none/sem.mp-*"])
