"""A run, as one of its ranks has it once the ranks have met."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from mpidask import config
from mpidask.config import Options
from mpidask.files import remove_if_holding
from mpidask.launch.cluster.layout import Layout
from mpidask.launch.comm.rank import Rank
from mpidask.launch.comm.world import World
from mpidask.launch.resources.scratch import Scratch
from mpidask.launch.watchdog.watchdog import Watchdog
from mpidask.run_directory import key_file

if TYPE_CHECKING:
    from mpidask.launch.imports.import_cache import ImportCache
    from mpidask.launch.script.main_module import Program

__all__ = ["GivenOptions", "Invocation", "OptionsRequest", "Run", "Settled"]


class OptionsRequest(Protocol):
    """What is asked for, before it is checked."""

    def options(self, size: int) -> Options:
        """Return the options for so many ranks; raises UsageError or WorldTooSmallException."""


@dataclasses.dataclass(frozen=True)
class GivenOptions:
    """Options by their names."""

    values: Mapping[str, Any]

    def options(self, size: int) -> Options:
        """Return the options; raises UsageError."""
        from mpidask.options.loading import load  # not at the top: ranks that only wait do without

        return load(self.values, spelled=config.as_keyword)


@dataclasses.dataclass(frozen=True)
class Invocation:
    """What the user has asked for.

    program:    the script; None where there is none, or where it is this process
    path:       first entries of sys.path for servers and workers: the script's
    has_client: whether one of the ranks is the cluster's client
    """

    options: Options
    program: Program | None = None
    path: tuple[str, ...] = ()
    has_client: bool = True


@dataclasses.dataclass(frozen=True)
class Settled:
    """What rank 0 has settled for all ranks.

    configuration: Dask's
    run:           id of the run, by which it knows what it wrote
    variables:     what the environment says of the job
    """

    invocation: Invocation
    configuration: dict[str, Any]
    run: str
    variables: Mapping[str, str]


class Run:
    """What a rank works with, from the moment when the ranks have met.

    rank:    this process as one of the ranks
    layout:  what all ranks know
    invocation, configuration, id: as in `Settled`
    imports: the import cache, while the run starts
    begun:   when the ranks had met, by the monotonic clock
    is_lost: whether the run is about to be aborted, because its servers are lost
    is_aborting: whether this rank has begun to abort it
    report:  file with the record of the run, on the scheduler's rank; None without one
    """

    def __init__(self, rank: Rank, settled: Settled, layout: Layout, imports: ImportCache | None = None) -> None:
        self.rank, self.layout, self.imports = rank, layout, imports
        self.invocation, self.configuration, self.id = settled.invocation, settled.configuration, settled.run
        self.begun = time.monotonic()
        self.is_lost = self.is_aborting = False
        self._scratch: Scratch | None = None
        self.report: str | None = None

    @property
    def world(self) -> World:
        """The protocol between the ranks."""
        return self.rank.world

    @property
    def watchdog(self) -> Watchdog:
        """What ends this rank, and cleans up after it, where it does not do so itself."""
        return self.rank.watchdog

    @property
    def options(self) -> Options:
        """What the user has chosen."""
        return self.layout.options

    @property
    def hosts_scheduler(self) -> bool:
        """Whether the scheduler is on this rank."""
        return self.layout.scheduler == self.world.rank

    @property
    def is_reporting(self) -> bool:
        """Whether this rank prints the banner and the closing line."""
        return self.layout.reporting_rank == self.world.rank

    def scratch(self) -> Scratch:
        """Return this rank's directory, made at the first call; raises StartupError if it cannot be made."""
        if self._scratch is None:
            self._scratch = Scratch.make(self.layout.facts[self.world.rank].scratch, self.world.rank, self.rank.files)
            for path in self._scratch.paths:
                self.watchdog.remove_later(path)
        return self._scratch

    def drop_imports(self) -> None:
        """Forget the import cache: the run has started."""
        if self.imports is not None:
            self.imports.close()
        self.imports = None

    def tidy(self) -> None:
        """Kill what this rank has started, and remove what it has written."""
        self.rank.tidy()
        if self._scratch is not None:
            self._scratch.remove()
        if self.hosts_scheduler and self.options.scheduler_file is not None:
            for path in (self.options.scheduler_file, key_file(self.options.scheduler_file)):
                remove_if_holding(self.id, path)

    def abort(self, status: int) -> NoReturn:
        """End all ranks now, with nothing left of this one."""
        self.is_aborting = True
        self.tidy()
        self.world.abort(status)
