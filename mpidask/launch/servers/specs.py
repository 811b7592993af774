"""What servers are told: plain values, which a rank makes without importing Dask's servers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from mpidask.launch.resources.division import WorkerSpec
from mpidask.launch.resources.staggering import Turn
from mpidask.ports.port_range import PortRange
from mpidask.run_directory import Progress
from mpidask.security.credentials import Contact, Keys
from mpidask.security.scheduler_file import About

__all__ = ["Listening", "RankInfo", "RankShare", "RankSpec", "SchedulerSpec", "WorkerGroupSpec"]


@dataclasses.dataclass(frozen=True)
class RankInfo:
    """A rank, as the run has laid it out.

    node:    host name
    role:    in words
    pid:     the rank's process, which is not that of its workers
    memory:  bytes that all ranks of the node share, None if that is not known
    workers: their names
    """

    rank: int
    node: str
    role: str
    pid: int
    memory: int | None = None
    workers: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class SchedulerSpec:
    """How the scheduler is to listen.

    host:      IPv4 address
    port:      0 for a free one
    directory: where it keeps files
    sockets:   directory for sockets, whose paths must be short; "" for none
    file:      scheduler file to write, None for none
    about:     what to write there
    clients:   host and port of a second address, for clients from outside; None for none
    token:     the first part of the path of all pages of the dashboard; "" for none: everybody may look
    idle:      s without work after which it ends, 0 for never; None leaves it to Dask's configuration
    wanted:    number of workers without which the run does not begin, None for all
    ranks:     the run's ranks
    record:    directory and what to write there of the run's progress, None for nothing
    report:    file for the record of the run, and its first line, None for none
    environ:   variables to be set in its process
    ports:     those that may be taken where none is said, None for all
    """

    host: str
    port: int
    protocol: str
    dashboard_address: str
    directory: str
    sockets: str
    file: str | None
    about: About
    clients: tuple[str, int] | None = None
    token: str = ""
    dashboard: bool = True
    idle: float | None = None
    wanted: int | None = None
    ranks: Sequence[RankInfo] = ()
    record: tuple[str, Progress] | None = None
    report: tuple[str, Mapping[str, Any]] | None = None
    environ: Mapping[str, str] = dataclasses.field(default_factory=dict)
    ports: PortRange | None = None

    @property
    def keys(self) -> Keys | None:
        """The run's keys; None without TLS, or with keys of the user's own."""
        return self.about.keys


@dataclasses.dataclass(frozen=True)
class RankShare:
    """What workers have of the rank that they stand for, whoever hosts them.

    cores:   numbers of those that they may run on, () for those of the process that hosts them
    environ: variables to be set in their processes
    log:     file for what they print, None for where their host prints
    """

    cores: tuple[int, ...] = ()
    environ: Mapping[str, str] = dataclasses.field(default_factory=dict)
    log: str | None = None


@dataclasses.dataclass(frozen=True)
class WorkerGroupSpec:
    """The workers that one rank hosts.

    host:      IPv4 address on which they listen
    directory: where they spill
    sockets:   directory for sockets, whose paths must be short; "" for none
    data:      import path of what makes the mapping for their data, None for Dask's
    worker_options: further arguments of the worker class
    timeout:   s for them to start
    turn:      when they are to connect
    environ:   variables to be set in the process of their nannies
    shares:    rank -> what its workers have of it
    choice:    whether the rank has several GPUs to choose from
    ports:     those on which they and their nannies may listen, None for all
    measured:  whether they report for the record of the run
    again:     whether they take the place of lost ones: those that do not start are left out
    """

    workers: Sequence[WorkerSpec]
    scheduler: Contact
    host: str
    protocol: str
    directory: str
    sockets: str
    nanny: bool
    data: str | None
    worker_class: str
    worker_options: Mapping[str, Any]
    timeout: float
    turn: Turn
    environ: Mapping[str, str] = dataclasses.field(default_factory=dict)
    shares: Mapping[int, RankShare] = dataclasses.field(default_factory=dict)
    choice: bool = False
    ports: PortRange | None = None
    measured: bool = False
    again: bool = False


@dataclasses.dataclass(frozen=True)
class RankSpec:
    """What one rank hosts, in its own process or in the agent beside it.

    scheduler, workers: None for none. Workers wait for the address of their scheduler, unless it is here
    config: Dask's configuration
    prefix: what the semaphores of its processes are named by
    turn:   the rank's among those that host workers
    log:    file for what servers and tasks print, None for where the rank prints
    warns:  say so if that cannot be written
    path:   first entries of sys.path for servers and workers: the script's
    cores:  those that servers and workers may run on together, () for those that the rank may run on
    """

    scheduler: SchedulerSpec | None
    workers: WorkerGroupSpec | None
    config: dict[str, Any]
    prefix: str
    turn: Turn
    log: str | None = None
    warns: bool = True
    path: tuple[str, ...] = ()
    cores: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Listening:
    """A scheduler is up.

    dashboard: link to its pages, None if there are none
    """

    contact: Contact
    dashboard: str | None
