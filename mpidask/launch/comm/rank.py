"""One of the ranks, this process: what it has before it knows anything of the others, and how it ends."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, NoReturn

from mpidask.launch.comm.polling import wait
from mpidask.launch.comm.world import World
from mpidask.launch.resources.roles import VITAL, Role
from mpidask.launch.watchdog import OTHERS, end_timeline, mark, shared_memory
from mpidask.launch.watchdog.early_processes import EarlyProcesses
from mpidask.launch.watchdog.launcher_environment import AGENT, TOKEN
from mpidask.launch.watchdog.procfs import kill_marked

if TYPE_CHECKING:
    from mpi4py import MPI

    from mpidask.errors import MpidaskError
    from mpidask.launch.watchdog.watchdog import Watchdog

__all__ = ["Rank"]

_LAST_WORD = 10.0  # s that the other ranks get to leave by themselves after a failed start


class Rank:
    """One of the ranks.

    world:    the protocol between the ranks
    watchdog: the process that ends this one, and cleans up after it, where it does not do so itself
    environ:  the environment that it was started with
    early:    what it has started before the ranks have met
    lean:     whether it is to import no more than it must: servers are in processes of their own
    up:       when MPI was up, in s since 1970
    files:    in shared memory, to be removed at the end, however it comes: a killed MPI library leaves them
    """

    def __init__(
        self, world: World, watchdog: Watchdog, environ: Mapping[str, str], early: EarlyProcesses | None = None
    ) -> None:
        self.world, self.watchdog, self.environ, self.up = world, watchdog, environ, time.time()
        self.early, self.lean = early or EarlyProcesses(), early is not None
        self.files = {*world.segments, shared_memory.semaphores(watchdog.token)}
        self.use_role(Role.WORKER)  # until the roles are known
        for file in self.files:
            watchdog.remove_later(file)
        self.early.mpi_is_up()

    @classmethod
    def join(cls, watchdog: Watchdog, comm: MPI.Intracomm | None = None, early: EarlyProcesses | None = None) -> Rank:
        """Bring MPI up if it is not up, and become one of the ranks of a communicator (None: of all).

        A user's mistake that keeps MPI from coming up ends the process with its remedy.
        """
        environ = dict(os.environ)
        world = World.of(comm)
        mark("wait for all ranks in MPI", OTHERS)
        return cls(world, watchdog, environ, early)

    def changed_environ(self) -> dict[str, str]:
        """Return, for what it starts, its mark and those variables that have come or changed since its own start."""
        changed = {name: value for name, value in os.environ.items() if self.environ.get(name) != value}
        return {**changed, TOKEN: self.watchdog.token}

    def use_role(self, role: Role) -> None:
        """Tell the watchdog that MPI is up, what this rank is and whether the run can do without it."""
        who = f"rank {self.world.rank} ({role}) on {self.world.host}"
        self.watchdog.mpi_is_up(who, vital=bool(role & VITAL))

    def tidy(self) -> None:
        """Kill what this rank has started, and remove what that has left in shared memory.

        Semaphores that this process itself uses stay: multiprocessing removes them, at its end at the latest.
        """
        kill_marked(self.watchdog.token)
        self._remove_semaphores()

    def tidy_agent(self) -> None:
        """Do so with what is left of an agent alone: a script beside it goes on."""
        kill_marked(self.watchdog.token, by=AGENT)
        self._remove_semaphores()

    def _remove_semaphores(self) -> None:
        shared_memory.remove([shared_memory.semaphores(self.watchdog.token)], but=shared_memory.semaphores_in_use())

    def leave(self, status: int) -> NoReturn:
        """End MPI and the process, without waiting for threads that the run left behind."""
        self.world.finalize(last=bool(status))
        mark("MPI_Finalize")
        end_timeline()
        self.watchdog.farewell()
        World.exit_process(status)

    def fail(self, error: MpidaskError) -> NoReturn:
        """End every rank after a failed start, with one message, from rank 0."""
        if self.world.rank == 0:
            error.report()
        self.watchdog.end_within(2 * _LAST_WORD)
        if not wait(self.world.meet(_LAST_WORD)):
            self.world.abort(error.status)
        self.leave(error.status if self.world.rank == 0 else 0)
