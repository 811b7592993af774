"""The shared-memory files of a process: MPI's own, and the semaphores of Python's multiprocessing.

Whoever is killed leaves them in /dev/shm. Imported before MPI is up: small modules only.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Iterable

__all__ = ["remove", "segments_of", "semaphore_prefix", "semaphores", "semaphores_in_use"]

_PLACE = "/dev/shm/"
_NAMES = re.compile(_PLACE + r"(mpich_shm_|sm_segment|ucx_shm_|vader_segment|psm2_shm|osc_sm|sem\.mp-)[^\s/]*")


def semaphore_prefix(token: str) -> str:
    """Return what the semaphores of a rank's processes are to be named by, for multiprocessing."""
    return f"/mp-{token}"


def semaphores(token: str) -> str:
    """Return a pattern of the semaphores of a rank's processes."""
    return f"{_PLACE}sem.mp-{token}-*"


def segments_of(pid: int | str) -> set[str]:
    """Return the shared-memory files that a process of this user has mapped."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as file:
        return {match[0] for match in _NAMES.finditer(file.read())}
    return set()


def semaphores_in_use() -> set[int]:
    """Return the inodes of the semaphores that this process has mapped: the C library gives a name to them later."""
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
        return {int(line.split()[4]) for line in file if f"{_PLACE}sem." in line}


def remove(paths: Iterable[str], but: Collection[int] = ()) -> None:
    """Remove those of the paths that are such files, and this user's; a last * stands for anything.

    but: inodes of files that stay
    """
    for path in paths:
        for each in _matching(path) if path.endswith("*") else [path]:
            with contextlib.suppress(OSError):
                about = os.lstat(each)
                if _NAMES.fullmatch(each) and about.st_uid == os.getuid() and about.st_ino not in but:
                    os.unlink(each)


def _matching(pattern: str) -> list[str]:
    prefix = os.path.basename(pattern)[:-1]
    names: list[str] = []
    with contextlib.suppress(OSError):  # it is missing, or not to be listed
        names = os.listdir(_PLACE)
    return [_PLACE + name for name in names if name.startswith(prefix)]
