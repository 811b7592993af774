"""A mount namespace of this process's own, with a /dev/shm of its own: tests look there for what runs leave behind.

Batch systems, which all tests share, are started outside of it.
"""

from __future__ import annotations

import ctypes
import os

_CLONE_NEWNS = 0x20000
_MS_REC_PRIVATE = 0x4000 | 1 << 18
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_CAPABILITY_VERSION_3 = 0x20080522

#: The namespace in which this process started, open as long as it lives; None while it still is in that.
_outside: int | None = None


def enter() -> bool:
    """Enter a namespace of one's own if that is possible: as root, or where `./do` has prepared it with unshare."""
    global _outside
    if _outside is not None:
        return True
    libc = ctypes.CDLL(None, use_errno=True)
    outside = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    if libc.unshare(_CLONE_NEWNS) != 0:
        os.close(outside)
        return False
    # What is mounted later, for nodes and by tests, must not come back to the namespaces of others.
    _mount(libc, b"none", b"/", None, _MS_REC_PRIVATE, None)
    _mount(libc, b"shm", b"/dev/shm", b"tmpfs", 0, b"mode=1777")
    _outside = outside
    if os.geteuid() != 0:
        _drop_capabilities(libc)
    return True


def private() -> bool:
    """Whether nobody else uses this process's /dev/shm."""
    return _outside is not None


def outside(*words: object) -> list[str]:
    """Return the command that runs a command in the namespace in which this process started."""
    if _outside is None:
        return [str(word) for word in words]
    return ["nsenter", f"--mount=/proc/{os.getpid()}/fd/{_outside}", "--", *map(str, words)]


def _mount(libc: ctypes.CDLL, source: bytes, target: bytes, kind: bytes | None, flags: int, data: bytes | None) -> None:
    if libc.mount(source, target, kind, ctypes.c_ulong(flags), data) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mount {target.decode()}: {os.strerror(number)}")


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """Give up what `unshare --keep-caps` gave: the tests are an ordinary user's, whom file modes hold off."""
    libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    if libc.capset(header, (ctypes.c_uint32 * 6)()) != 0:
        raise OSError(ctypes.get_errno(), "capabilities cannot be dropped")
