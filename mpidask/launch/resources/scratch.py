"""The directory that a rank's workers spill to: node-local, of the run alone, gone at its end.

A rank holds a lock on its directory's file ``run``; the kernel drops it when the rank dies, whatever
killed it. So a later run knows which directories are of a dead one, and removes them, with the
shared-memory segments that they list.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import socket
import stat
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

from mpidask.errors import StartupError
from mpidask.files import is_ours, open_plain
from mpidask.launch.resources.hardware import NETWORK_FILE_SYSTEMS, file_system, scratch_candidates
from mpidask.launch.watchdog import shared_memory

__all__ = ["Scratch", "choose", "host_label", "left_over", "place_for_sockets", "sweep"]

_PREFIX = "mpidask-"

#: Where a directory for sockets is made if the other one's path is too long.
_SHORT_PLACES = ("/tmp", "/var/tmp", "/dev/shm")
_SOCKET = 107  # bytes of a socket's path at most: sun_path in unix(7)
_LONGEST = 70


class Scratch:
    """One rank's directory.

    sockets: directory for sockets; "" if there is no place for them
    """

    def __init__(self, path: str, lock: IO[str], short: Scratch | None) -> None:
        self.path = path
        self.sockets = path if len(os.fsencode(path)) < _LONGEST else short.path if short is not None else ""
        self._lock, self._short = lock, short

    @property
    def paths(self) -> list[str]:
        """All directories that are to be removed at the end."""
        return [self.path, *(self._short.paths if self._short is not None else [])]

    @classmethod
    def make(cls, base: str, rank: int, files: Iterable[str]) -> Scratch:
        """Make the directory, 0700, with a name that nobody can foresee; hold its lock.

        files: the rank's shared-memory files, to be removed with the directory should the rank be killed
        Raises StartupError if it cannot be made.
        """
        import tempfile  # not at the top: ranks that only wait do without

        try:
            path = tempfile.mkdtemp(prefix=f"{_PREFIX}{host_label()}-rank{rank}-", dir=base)
            lock = _locked(os.path.join(path, "run"), files)
        except OSError as error:
            raise StartupError(
                f"no directory for spilling can be made in {base}: {error.strerror}",
                "choose another place with --local-directory",
                key="no-place-to-spill",
            ) from error
        return cls(path, lock, cls._make_short(rank) if len(os.fsencode(path)) >= _LONGEST else None)

    @classmethod
    def _make_short(cls, rank: int) -> Scratch | None:
        """Return a directory with a short path, None if none can be made."""
        for place in filter(_is_usable, _SHORT_PLACES):
            with contextlib.suppress(StartupError):  # it is full
                return cls.make(place, rank, ())
        return None

    def remove(self) -> None:
        """Remove the directory and all that is in it."""
        _remove(self.path)
        self._lock.close()
        _remove_empty(self.path)
        if self._short is not None:
            self._short.remove()


def place_for_sockets(place: str, added: int) -> str:
    """Return a directory under which paths of sockets are short enough: this one, unless it is too long.

    added: bytes that come after it
    """
    places = [place, *filter(_is_usable, _SHORT_PLACES)]
    return next((each for each in places if len(os.fsencode(each)) + added <= _SOCKET), place)


def host_label() -> str:
    """Return what names this host in a directory's name: short, also where the host's name is long."""
    name = socket.gethostname()
    return f"{re.sub(r'[^A-Za-z0-9]', '', name.partition('.')[0])[:12]}-{zlib.crc32(name.encode()):08x}"


def _is_utf8(path: str) -> bool:
    """Whether a path is text: workers tell the scheduler where they spill."""
    return path == path.encode(errors="replace").decode()


def _is_usable(path: str) -> bool:
    return (
        _is_utf8(path) and os.path.isdir(path) and os.access(path, os.W_OK | os.X_OK) and not _others_can_rename(path)
    )


def _locked(path: str, files: Iterable[str]) -> IO[str]:
    """Return the locked file that lists the rank's shared-memory files; it takes its name only when it is locked."""
    lock = open(path + ".new", "w", encoding="utf-8")  # noqa: SIM115 - held as long as the rank lives
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
            raise
        return lock  # without its name: no other run takes the directory for one that nobody holds
    lock.write("\n".join(files))
    lock.flush()
    os.rename(path + ".new", path)
    return lock


def choose(given: str | None, environ: Mapping[str, str], *, shared: bool = False, root: Path = Path("/")) -> str:
    """Return the directory to make the rank's directory in.

    given:  the user's choice, in which variables and ~ are expanded; None to look for one
    shared: accept a network file system
    root:   stands for / where kinds of file systems are read
    Raises StartupError if the choice cannot be used or nothing is found.
    """
    if given is not None:
        return _check(os.path.expanduser(os.path.expandvars(given)), root, shared=shared)
    for candidate in scratch_candidates(environ):
        if _is_usable(candidate) and (shared or file_system(candidate, root) not in NETWORK_FILE_SYSTEMS):
            return os.path.realpath(candidate)
    raise StartupError(
        "no node-local directory for spilling was found",
        "name one with --local-directory; add --shared-scratch if it is on a network file system",
        key="no-place-to-spill",
    )


def _check(path: str, root: Path, *, shared: bool) -> str:
    if not _is_utf8(path):
        raise StartupError(
            f"the directory for spilling {path!a} has a name that is not UTF-8, which Dask cannot pass on",
            "choose another place with --local-directory",
            key="no-place-to-spill",
        )
    kind = file_system(path, root)
    if kind in NETWORK_FILE_SYSTEMS and not shared:
        raise StartupError(
            f"{path} is on a network file system ({kind}), where spilling is slow for you and everybody else",
            "name a node-local directory with --local-directory, or insist with --shared-scratch",
            key="no-place-to-spill",
        )
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
    except OSError as error:
        raise StartupError(
            f"the directory for spilling {path} cannot be made: {error.strerror}",
            "choose another place with --local-directory",
            key="no-place-to-spill",
        ) from error
    if _others_can_rename(path):
        raise StartupError(
            f"in {path} everybody can rename your directory and put another in its place: it has no sticky bit",
            "name a directory of your own there with --local-directory, which is made for you alone",
            key="no-place-to-spill",
        )
    return os.path.realpath(path)


def _others_can_rename(path: str) -> bool:
    """Whether what is in a directory can be exchanged by everybody: it would be read back, as pickles."""
    mode = os.stat(path).st_mode
    return bool(mode & stat.S_IWOTH) and not mode & stat.S_ISVTX


def sweep(base: str) -> list[str]:
    """Remove the directories that dead runs of this user left on this node, in `base` and for sockets.

    Returns their names.
    """
    removed = []
    for path in _mine([base, *_SHORT_PLACES]):
        with contextlib.suppress(OSError):
            if _sweep_one(path):
                removed.append(path.name)
    return removed


def left_over(bases: Iterable[str]) -> list[str]:
    """Return the directories that `sweep` would remove in any of these places."""
    return [str(path) for path in _mine([*bases, *_SHORT_PLACES]) if _is_dead(path)]


def _mine(bases: Iterable[str]) -> list[Path]:
    """Return this user's directories of runs on this node."""
    found = []
    for path in (each for place in dict.fromkeys(bases) for each in Path(place).glob(f"{_PREFIX}{host_label()}-rank*")):
        with contextlib.suppress(OSError):
            about = path.lstat()
            if stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid():
                found.append(path)
    return found


def _is_dead(path: Path) -> bool:
    with contextlib.suppress(OSError), _held(path) as lock:
        return lock is not None
    return False


def _sweep_one(path: Path) -> bool:
    with _held(path) as lock:
        if lock is None:
            return False
        shared_memory.remove(lock.read().split())
        _remove(path)
    _remove_empty(path)
    return True


def _remove(directory: str | Path) -> None:
    import shutil  # not at the top: ranks that only wait do without

    shutil.rmtree(directory, ignore_errors=True)


def _remove_empty(directory: str | Path) -> None:
    """Remove a directory in which a file was open until now: NFS keeps another name for that, and the directory."""
    with contextlib.suppress(OSError):
        os.rmdir(directory)


@contextlib.contextmanager
def _held(path: Path) -> Iterator[IO[str] | None]:
    """Hold the lock of a directory whose rank is dead, and yield its file; None if the rank lives."""
    if (path / "run").is_symlink() or not is_ours(path / "run"):
        yield None
        return
    with open_plain(str(path / "run"), os.O_RDWR | os.O_NOFOLLOW) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # its rank lives
            yield None
        else:
            yield lock
