"""What a rank and its agent say to each other."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence

from mpidask.launch.servers.specs import RankSpec

__all__ = ["Duty", "Finished", "GivenUp", "Origin", "Started", "WorkerUp"]


@dataclasses.dataclass(frozen=True)
class Origin:
    """What of a rank's interpreter its servers and workers have, too.

    path, argv:   sys.path and sys.argv
    start_method: what multiprocessing starts processes by, None if the program has not chosen
    """

    path: Sequence[str]
    argv: Sequence[str]
    start_method: str | None

    def take_over(self) -> None:
        """Have it in this process, too."""
        sys.path[:] = [entry or os.getcwd() for entry in self.path]
        sys.argv[:] = self.argv
        if self.start_method is not None:
            multiprocessing.set_start_method(self.start_method, force=True)


@dataclasses.dataclass(frozen=True)
class WorkerUp:
    """A worker is up; rank: the one that it stands for."""

    rank: int


@dataclasses.dataclass(frozen=True)
class Started:
    """All servers are up."""


@dataclasses.dataclass(frozen=True)
class Finished:
    """The servers have ended by themselves; idle: for want of work."""

    idle: bool


@dataclasses.dataclass(frozen=True)
class GivenUp:
    """Workers of other ranks do not come back, and the scheduler is here; names: theirs."""

    names: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Duty:
    """What the agent is to do.

    origin:    of the rank
    spec:      of its servers
    environ:   variables that have come since the rank was started
    libraries: those that libraries read when they are imported
    without:   those that it is not to have
    """

    origin: Origin
    spec: RankSpec
    environ: Mapping[str, str]
    libraries: Mapping[str, str]
    without: Sequence[str] = ()
