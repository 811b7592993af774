"""Files that others read while they are written, and places that are this user's alone."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
from collections.abc import Iterable, Iterator
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "append_json",
    "append_lines",
    "is_ours",
    "is_there",
    "json_lines",
    "make_private",
    "mark",
    "memory_file",
    "open_plain",
    "open_private",
    "remove_if_holding",
    "replace",
    "replace_json",
]

_CLOEXEC, _NOEXEC_SEAL = 1, 8  # https://man7.org/linux/man-pages/man2/memfd_create.2.html
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def memory_file(name: str) -> int:
    """Return the descriptor of a new file that is in memory alone and in no directory; raises OSError.

    Python has no memfd_create where it was built with a C library before 2.27, as conda-forge's, whatever the node has.
    A kernel may ask for MFD_NOEXEC_SEAL: https://www.kernel.org/doc/html/latest/userspace-api/mfd_noexec.html
    """
    for flags in (_CLOEXEC, _CLOEXEC | _NOEXEC_SEAL):
        with contextlib.suppress(OSError):
            return os.memfd_create(name, flags) if hasattr(os, "memfd_create") else _memfd_create(name, flags)
    import tempfile

    descriptor, path = tempfile.mkstemp(prefix="mpidask-", dir="/dev/shm")
    os.unlink(path)
    return descriptor


def _memfd_create(name: str, flags: int) -> int:
    """Call the C library's; raises OSError."""
    import ctypes

    create = getattr(ctypes.CDLL(None, use_errno=True), "memfd_create", None)
    descriptor = -1 if create is None else int(create(name.encode(), ctypes.c_uint(flags)))
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "no file in memory can be made")
    return descriptor


def replace(path: str, content: str | bytes) -> None:
    """Write a file, mode 0600, so that a reader sees all of the old one, or of the new one; raises OSError."""
    import tempfile  # not at the top: ranks that only wait do without

    descriptor, unfinished = tempfile.mkstemp(prefix=f".{os.path.basename(path)}.", dir=os.path.dirname(path))
    try:
        with os.fdopen(descriptor, "wb") as file:
            if os.fstat(descriptor).st_mode & _OTHERS:  # given by the directory's inherited ACL
                with contextlib.suppress(OSError):
                    os.fchmod(descriptor, 0o600)
            file.write(content.encode(errors="surrogateescape") if isinstance(content, str) else content)
        os.replace(unfinished, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(unfinished)
        raise


def replace_json(path: str, content: Any) -> None:
    """Write content as JSON, in the same way; raises OSError."""
    import json  # not at the top: ranks that only wait do without

    replace(path, json.dumps(content, indent=2, default=str))


def append_json(path: Path, values: Iterable[Any]) -> None:
    """Append a line of JSON for each value to a file, as `append_lines` does; raises OSError."""
    import json

    append_lines(path, "".join(json.dumps(value) + "\n" for value in values).encode())


def append_lines(path: str | Path, lines: bytes) -> None:
    """Append lines to a file, mode 0600; raises OSError.

    An unfinished last line, which a full disk may have left, is ended first.
    """
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "r+b") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            lines = lines if file.read(1) == b"\n" else b"\n" + lines
        file.write(lines)


def json_lines(path: Path) -> Iterator[Any]:
    """Yield the value of each line of a file that `append_json` has written, none if it is not there.

    Lines that cannot be read are left out: an unfinished one must not hide the others.
    """
    import json

    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return
    for line in lines:
        with contextlib.suppress(ValueError, RecursionError):
            yield json.loads(line)


def is_there(path: str) -> bool:
    """Return whether a file is there that another node may just have made.

    NFS remembers for up to a minute that it was not; opening its directory has it look anew.
    """
    with contextlib.suppress(OSError):
        os.close(os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    return os.path.exists(path)


def remove_if_holding(text: str, path: str) -> None:
    """Remove a file if it holds that text; whatever hinders that, it stays."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # nobody can have us wait for a FIFO
    with contextlib.suppress(OSError):
        if os.path.isfile(path):
            with os.fdopen(os.open(path, flags), encoding="utf-8", errors="replace") as file:
                if text in file.read():
                    os.unlink(path)


def mark(path: Path) -> None:
    """Make an empty file, mode 0600, whose being there says something; raises OSError."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))  # when it was made first stays


def open_plain(path: str, flags: int = os.O_RDONLY) -> IO[str]:
    """Open a text file to read it; raises OSError for what is no file: of a FIFO that is planted one would wait.

    flags: as `os.open` takes them; to lock a file, NFS wants it to be open for writing, too
    """
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no plain file", path)
    return os.fdopen(descriptor, encoding="utf-8", errors="replace")


def open_private(path: str) -> IO[bytes]:
    """Open a file to read it that holds what this user runs; raises OSError for one that somebody else could have made.

    That is a link, what is no file, another user's file, and one that others may read or write.
    """
    try:
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise PermissionError(errno.EPERM, "it is a link", path) from error
        raise
    about = os.fstat(file.fileno())
    wrong = (
        (not stat.S_ISREG(about.st_mode), "it is no plain file"),
        (about.st_uid != os.geteuid(), "it is another user's"),
        (bool(about.st_mode & _OTHERS), f"others may use it (mode {stat.S_IMODE(about.st_mode):o}, not 600)"),
    )
    for holds, what in wrong:
        if holds:
            file.close()
            raise PermissionError(errno.EPERM, what, path)
    return file


def make_private(path: Path) -> None:
    """Make a directory, and those above it that are missing, for this user alone: mode 0700, whatever the umask.

    One that is there becomes so; raises OSError if it is another user's.
    """
    missing = itertools.takewhile(lambda each: not each.exists(), [path, *path.parents])
    for each in reversed(list(missing)):
        each.mkdir(mode=0o700, exist_ok=True)
    about = path.stat()
    if about.st_uid != os.getuid():
        raise PermissionError(errno.EPERM, f"{path} is another user's", str(path))
    if about.st_mode & _OTHERS:
        path.chmod(stat.S_IMODE(about.st_mode) & ~_OTHERS)


def is_ours(path: Path) -> bool:
    """Whether a file or directory is this user's; raises OSError if it is not there."""
    return path.stat().st_uid == os.getuid()
