"""What the client's rank and the script's process tell each other."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from mpidask.errors import MpidaskError
from mpidask.launch.resources.staggering import Turn
from mpidask.launch.script.main_module import Program
from mpidask.security.credentials import Contact

__all__ = ["Begin", "EndWithin", "Prepare", "Ready"]


@dataclasses.dataclass(frozen=True)
class Prepare:
    """What to run; the cluster is not up yet.

    environ:         variables to be set
    config:          Dask's configuration, as rank 0 has it
    turn:            the rank's among those that host workers
    thread_grace:    s that threads which outlive the main thread are waited for
    walltime_margin: s before the walltime's end at which the script is told
    local_cluster:   leave Dask's LocalCluster as it is
    nanny:           whether workers can be started again
    """

    program: Program
    environ: Mapping[str, str]
    config: Mapping[str, Any]
    turn: Turn
    thread_grace: float
    walltime_margin: float
    local_cluster: bool
    nanny: bool


@dataclasses.dataclass(frozen=True)
class Ready:
    """The program is there and Dask is imported; wrong: what keeps the script from running, None for nothing."""

    wrong: MpidaskError | None = None


@dataclasses.dataclass(frozen=True)
class Begin:
    """The cluster is up.

    dashboard: link to the scheduler's; None if there is none
    host:      of the dashboard
    workers:   how many there are, None where others may have started some
    """

    contact: Contact
    dashboard: str | None
    host: str
    workers: int | None


@dataclasses.dataclass(frozen=True)
class EndWithin:
    """The process has to have ended in so many seconds, or is to be killed with its rank."""

    seconds: float
