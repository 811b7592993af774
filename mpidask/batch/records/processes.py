"""Which process is meant, and whether it lives (Linux)."""

from __future__ import annotations

import dataclasses
import os
import socket

__all__ = ["Process"]


@dataclasses.dataclass(frozen=True)
class Process:
    """A process of a host.

    started: when it was started, in the kernel's ticks: numbers of processes are used again
    space:   the pid namespace in which it has that number: containers may have their own under the host's name
    """

    host: str
    id: int
    started: int
    space: str = ""

    @classmethod
    def here(cls) -> Process:
        """Return the process that asks."""
        return cls(socket.gethostname(), os.getpid(), _started(os.getpid()), _space())

    @property
    def has_ended(self) -> bool:
        """Whether it has ended; False where that cannot be seen: on another host, or beside another container."""
        here = self.host == socket.gethostname() and self.space in ("", _space())
        return here and _started(self.id) != self.started


def _space() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:  # there are none
        return ""


def _started(process: int) -> int:
    """Return when a process was started; -1 if there is none."""
    try:
        with open(f"/proc/{process}/stat", encoding="ascii", errors="replace") as file:
            return int(file.read().rsplit(")", 1)[1].split()[19])
    except (OSError, ValueError, IndexError):
        return -1
