"""The cluster around the client's rank: from the meeting to the end, whoever the client is."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from mpidask import credentials, tls_sockets
from mpidask.credentials import Contact
from mpidask.dashboard import reach
from mpidask.errors import MpidaskError
from mpidask.launch import ending, import_cache, loudness, waves
from mpidask.launch.agent import Agent
from mpidask.launch.announce import Progress, print_banner, print_closing
from mpidask.launch.complaints import no_scheduler
from mpidask.launch.layout import Layout, caught, configure_dask
from mpidask.launch.plans import make_agent
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
    """Close the clients of this process that are connected to a scheduler which is about to end.

    None of them connects again, also those that belong to an event loop, which may have ended.
    """
    distributed = sys.modules.get("distributed")
    if distributed is None:  # its import is what went wrong
        return
    theirs = [each for each in distributed.Client._instances if getattr(each.scheduler, "address", None) == address]
    for each in theirs:
        each.status = "closing"
    for each in theirs:
        if not each.asynchronous:
            with contextlib.suppress(Exception):
                each.close(timeout=1)


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

    def __init__(
        self, world: World, layout: Layout, prepare: Callable[[], Any] = lambda: None, *, diverts: bool
    ) -> None:
        """Prepare it.

        prepare: what else this rank has to do before the script
        diverts: what servers and tasks beside the client print goes to the rank's log
        """
        self._world, self._layout, self._prepare, self._diverts = world, layout, prepare, diverts
        self._agent: Agent | None = None
        self._wrong: MpidaskError | None = None
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
            wrong = caught(self._start_agent) or caught(self._ready)  # while the scheduler comes up elsewhere
            yield from self._know_scheduler(wrong)
            watch = Progress(self._layout)
            try:
                yield from self._world.agree(wrong or Up(self), watch.patience)
            finally:
                watch.done()
        except MpidaskError:
            self.close_agent()
            raise
        if self._agent is not None and self._layout.scheduler == self._world.rank:
            self.dashboard = self._agent.dashboard
        if self._world.rank == self._layout.speaker:
            print_banner(self._layout, self.contact, self.dashboard)
        self.dashboard = yield from self._world.share(self.dashboard, self._layout.speaker)
        self._introduce()
        self._world.drop_imports()
        if self._agent is not None:
            self._agent.watch(lambda status: ending.lose_agent(self._world, self._layout, status))

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

    def _know_scheduler(self, wrong: MpidaskError | None) -> Steps[None]:
        """Learn where the scheduler is, or tell the others, if it is here.

        wrong: what keeps this rank from going on
        """
        root = self._layout.scheduler
        if root is None:
            assert self._layout.joined is not None
            self.contact = self._layout.joined
            return
        value: Any = wrong
        if root == self._world.rank:
            if wrong is None:
                value = yield from self.agent.scheduler()
            if isinstance(value, MpidaskError):
                value = no_scheduler(value, root, self._world.host)
        value = yield from self._world.share(value, root)
        if isinstance(value, MpidaskError):
            raise value
        self.contact = value
        if self._agent is not None and root != self._world.rank:
            self._agent.tell(self.contact)

    def _ready(self) -> None:
        with import_cache.active(self._world.imports):
            configure_dask(self._world)
            waves.configure(self._layout.turn)
            tls_sockets.mend()  # imports Dask: an error is to be reported now

        self._prepare()

    def _start_agent(self) -> None:
        if self._layout.mine or self._layout.scheduler == self._world.rank:
            self._agent = make_agent(self._world, self._layout, diverts=self._diverts)

    @property
    def agent(self) -> Agent:
        """The process with this rank's servers."""
        assert self._agent is not None
        return self._agent

    @property
    def has_servers(self) -> bool:
        """Whether this rank hosts servers, in a process beside it."""
        return self._agent is not None

    def close(self, status: int | None) -> None:
        """End the cluster: tell all ranks, close what this rank hosts. The ranks have yet to meet.

        status: the script's exit status, None if it is not known
        """
        self.closed = True
        self._world.guardian.end_within(ending.KILL)
        loudness.quieten()
        close_clients(self.address)
        self._world.announce_end(status)
        self.close_agent()
        if self._world.rank == self._layout.speaker:
            print_closing(self._layout, status)

    def close_agent(self) -> None:
        """End the servers beside the client."""
        if self._agent is not None:
            loudness.quieten()
            close_clients(self.address)
            self._agent.close(2 * ending.CLOSE)


class Up:
    """The number of workers beside the client, once they are there."""

    def __init__(self, around: Around) -> None:
        self._around = around

    def done(self) -> bool:
        """Whether they are there, or will not come."""
        return not self._around.has_servers or self._around.agent.done()

    def result(self) -> int | BaseException:
        """Return their number, or the error that kept them from coming."""
        return self._around.agent.result() if self._around.has_servers else 0
