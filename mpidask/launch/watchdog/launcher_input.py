"""Whether a launcher's standard input is at its end, for those launchers that do not tell.

Open MPI 5's mpirun (prterun) hands on what it reads, and never the end: not even of /dev/null. Imports little.
"""

from __future__ import annotations

import os
import select
import stat

from mpidask.launch.watchdog import procfs

__all__ = ["has_ended", "tells_the_end"]

_SILENT = ("prterun", "prted")


def tells_the_end(launcher: int) -> bool:
    """Return whether the process that has started this rank closes its standard input at the end."""
    return procfs.program_name(launcher) not in _SILENT


def has_ended(launcher: int, *, quiet: bool) -> bool:
    """Return whether that process has read its own standard input to the end.

    quiet: what is to be returned where that cannot be found out, such as where a daemon stands between
    """
    if procfs.program_name(launcher) != "prterun":
        return quiet
    path = f"/proc/{launcher}/fd/0"
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISREG(mode):
            return _position(launcher) >= os.stat(path).st_size
        if stat.S_ISSOCK(mode):
            return quiet
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:  # it has closed it; or we are in a container with a user namespace of its own
        return quiet or not isinstance(error, PermissionError)
    try:
        if stat.S_ISFIFO(mode):
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            return any(event & select.POLLHUP and not event & select.POLLIN for _, event in poll.poll(0))
        return not os.isatty(descriptor)
    finally:
        os.close(descriptor)


def _position(pid: int) -> int:
    """Return how far a process has read its standard input, in bytes."""
    with open(f"/proc/{pid}/fdinfo/0", encoding="utf-8") as file:
        return int(file.readline().split()[1])
