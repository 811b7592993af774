"""The cluster around the client's rank: from the meeting to the end, whoever the client is."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from mpidask import credentials
from mpidask.credentials import Contact
from mpidask.dashboard import reach
from mpidask.errors import LostError, MpidaskError
from mpidask.launch import diversion, ending, loudness
from mpidask.launch.announce import Progress, print_banner, print_closing
from mpidask.launch.complaints import no_scheduler
from mpidask.launch.environment import TOKEN
from mpidask.launch.host import Beside
from mpidask.launch.layout import Layout, caught
from mpidask.launch.plans import scheduler_plan, workers_plan
from mpidask.launch.roles import Role
from mpidask.launch.steps import Steps
from mpidask.launch.world import World

__all__ = ["Around", "close_clients", "current", "enter", "leave", "restore_signals"]

#: The clusters around this process, the innermost last.
_entered: list[Around] = []


def current() -> Around | None:
    """Return the cluster around this process, None if it is not the client of one."""
    return _entered[-1] if _entered else None


def enter(around: Around) -> None:
    """Make this cluster the current one."""
    _entered.append(around)


def leave(around: Around) -> None:
    """Make it the current one no more."""
    _entered.remove(around)


def close_clients(address: str) -> None:
    """Close the clients of this process that are connected to a scheduler which is about to end."""
    from distributed import Client

    for each in list(Client._instances):
        theirs = each.scheduler
        if not each.asynchronous and theirs is not None and getattr(theirs, "address", None) == address:
            with contextlib.suppress(Exception):
                each.close(timeout=1)  # type: ignore[no-untyped-call]  # Dask's


def restore_signals() -> None:
    """Have signals end the script as they would end it under plain python: MPI libraries have handlers of their own."""
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        if signal.getsignal(number) == signal.SIG_DFL:  # as it was at the start: nohup has it ignored
            signal.signal(number, signal.SIG_DFL)


class Around:
    """The cluster, as the client's rank has it.

    contact:   where the scheduler is, and the keys
    dashboard: its link, None if there is none
    """

    def __init__(self, world: World, layout: Layout, prepare: Callable[[], Any] = lambda: None) -> None:
        self._world, self._layout, self._prepare = world, layout, prepare
        self._beside: Beside | None = None
        self.contact = Contact("")
        self.dashboard: str | None = None
        self.closed = False

    @property
    def address(self) -> str:
        """The scheduler's address."""
        return self.contact.address

    def start(self) -> Steps[None]:
        """Start what this rank hosts, prepare the client, wait for all others; raises an MpidaskError on all ranks."""
        try:
            yield from self._know_scheduler()
            watch = Progress(self._layout)
            try:
                prepared = caught(self._ready)
                yield from self._world.agree(
                    prepared if isinstance(prepared, MpidaskError) else Up(self), watch.patience
                )
            finally:
                watch.done()
        except MpidaskError:
            self.close_beside()
            raise
        if self._world.rank == self._layout.speaker:
            print_banner(self._layout, self.contact, self.dashboard)
        self.dashboard = yield from self._world.share(self.dashboard, self._layout.speaker)
        self._introduce()
        if self._beside is not None:
            self._beside.watch(self._beside_died)

    def _introduce(self) -> None:
        """Have clients of this process find the scheduler, its keys and its dashboard."""
        import dask.config

        credentials.remember(self.address, self.contact.keys)
        dask.config.set({"scheduler-address": self.address})
        if self.dashboard is None:
            return
        link, template = self.dashboard, dask.config.get("distributed.dashboard.link")
        if template != reach.STANDARD:  # the user's, for a web proxy
            link = reach.configured(link, self._layout.hosts[self._layout.speaker], os.environ, template) or link
        dask.config.set({"distributed.dashboard.link": link})

    def _know_scheduler(self) -> Steps[None]:
        """Learn where the scheduler is, or start it and tell the others."""
        root = self._layout.scheduler
        if root is None:
            assert self._layout.joined is not None
            self.contact = self._layout.joined
            return
        value: Any = None
        if root == self._world.rank:
            value = caught(self._start_beside)
            if not isinstance(value, MpidaskError):
                value = yield from self.beside.scheduler()
            if isinstance(value, MpidaskError):
                value = no_scheduler(value, root, self._world.host)
        value = yield from self._world.share(value, root)
        if isinstance(value, MpidaskError):
            raise value
        self.contact = value

    def _ready(self) -> None:
        if self._beside is None and self._layout.mine:
            self._start_beside()
        import distributed  # noqa: F401 - an import error is to be reported now

        self._prepare()

    def _start_beside(self) -> None:
        import dask.config

        here = self._layout.scheduler == self._world.rank
        before = os.environ.get(TOKEN)
        os.environ[TOKEN] = self._world.guardian.token
        self._beside = Beside(
            scheduler_plan(self._world, self._layout) if here else None,
            workers_plan(self._world, self._layout, self.contact) if self._layout.mine else None,
            config=dask.config.config,
            log=diversion.log_of(self._world),
        )
        if before is None:
            del os.environ[TOKEN]

    @property
    def beside(self) -> Beside:
        """The process with this rank's servers."""
        assert self._beside is not None
        return self._beside

    @property
    def has_servers(self) -> bool:
        """Whether this rank hosts servers, in a process beside it."""
        return self._beside is not None

    def close(self, status: int | None) -> None:
        """End the cluster: tell all ranks, close what this rank hosts. The ranks have yet to meet.

        status: the script's exit status, None if it is not known
        """
        self.closed = True
        self._world.guardian.end_within(ending.KILL)
        loudness.quieten()
        self._world.announce_end(status)
        self.close_beside()
        if self._world.rank == self._layout.speaker:
            print_closing(self._layout, status)

    def close_beside(self) -> None:
        """End the servers beside the client."""
        if self._beside is not None:
            loudness.quieten()
            self._beside.close(2 * ending.CLOSE)

    def _beside_died(self, exitcode: int) -> None:
        """End the run if the scheduler was among the servers beside the client: it cannot go on."""
        where = f"the process with this rank's servers, on rank {self._world.rank} on {self._world.host}, ended"
        if Role.SCHEDULER not in self._layout.role:
            sys.stderr.write(f"mpidask: warning: {where} ({exitcode}); the run goes on without its workers\n")
            return
        lost = LostError(f"{where} ({exitcode}); the run ends")
        sys.stderr.write(lost.text())
        ending.tidy(self._world, self._layout)
        self._world.abort(lost.status)


class Up:
    """The number of workers beside the client, once they are there."""

    def __init__(self, around: Around) -> None:
        self._around = around

    def done(self) -> bool:
        """Whether they are there, or will not come."""
        return not self._around.has_servers or self._around.beside.done()

    def result(self) -> int | BaseException:
        """Return their number, or the error that kept them from coming."""
        around = self._around
        if not around.has_servers:
            return 0
        started = around.beside.result()
        if isinstance(started, BaseException):
            return started
        around.dashboard = started.dashboard
        return started.workers
