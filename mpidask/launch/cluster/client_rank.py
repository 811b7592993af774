"""The cluster around the client's rank: from the meeting to the end, whoever the client is."""

from __future__ import annotations

import contextlib
import signal
from typing import Any, Protocol

from mpidask.compat import dask as compat
from mpidask.compat import dask_settings
from mpidask.errors import MpidaskError, caught
from mpidask.launch.cluster import teardown
from mpidask.launch.cluster.announce import StartupProgress, print_banner, print_closing
from mpidask.launch.cluster.contact import share_scheduler
from mpidask.launch.cluster.lost_agent import Replacement, pass_on_losses, watch_over
from mpidask.launch.cluster.rank_spec import rank_spec, start_agent
from mpidask.launch.cluster.run import Run
from mpidask.launch.comm.polling import Steps
from mpidask.launch.imports import import_cache
from mpidask.launch.resources import staggering
from mpidask.launch.script import current
from mpidask.launch.servers import log_filters
from mpidask.launch.servers.agent import Agent
from mpidask.launch.servers.agent_messages import GivenUp
from mpidask.launch.watchdog import OTHERS, mark
from mpidask.security import tls_sockets
from mpidask.security.credentials import Contact

__all__ = ["ClientCluster", "ClientSide", "InRank", "close_clients", "restore_signals"]


def close_clients(address: str) -> None:
    """Close the clients of this process that are connected to a scheduler which is about to end.

    None of them connects again, also those that belong to an event loop, which may have ended.
    """
    theirs = [each for each in compat.clients() if getattr(each.scheduler, "address", None) == address]
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


class ClientSide(Protocol):
    """The client's own side of a cluster: this process, or a child of it."""

    def prepare(self) -> None:
        """Get ready while the cluster starts; may raise."""

    def done(self) -> bool:
        """Whether it is ready, or will not be."""

    def wrong(self) -> MpidaskError | None:
        """Return what keeps the client from running, None if it is ready."""

    def introduce(self, contact: Contact, dashboard: str | None) -> None:
        """Have clients find the scheduler, its keys and its dashboard."""

    def close(self, address: str) -> None:
        """End its clients: their scheduler is about to end. Also where nothing has come up."""


class InRank:
    """The client in this process."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def prepare(self) -> None:
        """Import Dask and configure it."""
        with import_cache.active(self._run.imports):
            dask_settings.update(self._run.configuration)
            staggering.configure(self._run.layout.turn)
            tls_sockets.mend()  # imports Dask: an error is to be reported now

    def done(self) -> bool:
        """Return True: `prepare` has done it."""
        return True

    def wrong(self) -> MpidaskError | None:
        """Return None: `prepare` has said it."""
        return None

    def introduce(self, contact: Contact, dashboard: str | None) -> None:
        """Put them into Dask's configuration."""
        import dask.config

        dask.config.set({"scheduler-address": contact.address})
        layout = self._run.layout
        current.introduce(contact, dashboard, layout.hosts[layout.reporting_rank])

    def close(self, address: str) -> None:
        """Close clients."""
        log_filters.silence()
        close_clients(address)


class ClientCluster:
    """The cluster, as the client's rank has it.

    contact:   where the scheduler is, and the keys
    dashboard: its link, None if there is none
    arrivals:  what wakes the start
    """

    def __init__(self, run: Run, side: ClientSide, *, diverts: bool) -> None:
        """Prepare it.

        side:    where the client is
        diverts: what servers and tasks beside the client print goes to the rank's log
        """
        self._run, self._world, self._layout, self._side, self._diverts = run, run.world, run.layout, side, diverts
        self._agent: Agent | None = None
        self._replacement: Replacement | None = None  # of the agent, once it is up
        self.contact = Contact("")
        self.dashboard: str | None = None
        self.arrivals = run.world.arrivals()
        self.closed = False

    @property
    def address(self) -> str:
        """The scheduler's address."""
        return self.contact.address

    def start(self) -> Steps[None]:
        """Start what this rank hosts, prepare the client, wait for all others; raises an MpidaskError on all ranks."""
        try:
            wrong = caught(self._start_agent) or caught(self._side.prepare)  # while the scheduler comes up elsewhere
            mark("prepare the script")
            yield from self._know_scheduler(wrong)
            mark("wait for the scheduler", OTHERS)
            watch = StartupProgress(self._layout)
            try:
                yield from self._world.agree(wrong or Up(self, self._side), watch.policy)
            finally:
                watch.done()
                mark("wait for workers", OTHERS)
        except MpidaskError:
            self._side.close(self.address)
            self.close_agent()
            raise
        if self._agent is not None and self._run.hosts_scheduler:
            self.dashboard = self._agent.dashboard
        if self._run.is_reporting:
            print_banner(self._layout, self.contact, self.dashboard)
        self.dashboard = yield from self._world.share(self.dashboard, self._layout.reporting_rank)
        self._side.introduce(self.contact, self.dashboard)
        self._run.drop_imports()
        if self._agent is not None:
            self._replacement = watch_over(self._run, self._agent, self.contact, diverts=self._diverts)
        mark("begin the run")

    def pass_on_losses(self) -> None:
        """Pass on what does not come back; to be called now and then, while the script runs elsewhere."""
        pass_on_losses(self._run, self._replacement, lambda names: self.agent.tell(GivenUp(names)))

    def _know_scheduler(self, wrong: MpidaskError | None) -> Steps[None]:
        """Learn where the scheduler is, or tell the others, if it is here.

        wrong: what keeps this rank from going on
        """
        made: Any = wrong
        if wrong is None and self._run.hosts_scheduler:
            made = yield from self._world.beside(self.agent.scheduler(self._layout.startup_timeout))
        self.contact = yield from share_scheduler(self._run, made)
        if self._agent is not None and not self._run.hosts_scheduler:
            self._agent.tell(self.contact)

    def _start_agent(self) -> None:
        if self._layout.mine or self._run.hosts_scheduler:
            self._agent = start_agent(self._run, rank_spec(self._run, diverts=self._diverts))
            self.arrivals.listen_to(self._agent)
        self._run.rank.early.discard()

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
        mark("the script", OTHERS)
        self.closed = True
        self._run.watchdog.end_within(teardown.KILL)
        self._side.close(self.address)
        self._world.announce_end(status)
        mark("close the cluster")
        self.close_agent()
        mark("wait for the agent's end", OTHERS)
        if self._run.is_reporting:
            print_closing(self._run, status)

    def close_agent(self) -> None:
        """End the servers beside the client."""
        if self._replacement is not None:
            self._replacement.close(teardown.AGENT)
        elif self._agent is not None:
            self._agent.close(teardown.AGENT)


class Up:
    """Rank -> number of its workers, of those beside the client, once these and the client are ready."""

    def __init__(self, cluster: ClientCluster, side: ClientSide) -> None:
        self._cluster, self._side = cluster, side

    def done(self) -> bool:
        """Whether they are, or will not be."""
        if self._side.done() and self._side.wrong() is not None:
            return True
        return self._side.done() and (not self._cluster.has_servers or self._cluster.agent.done())

    def result(self) -> dict[int, int] | BaseException:
        """Return it, or the error that kept them from coming."""
        wrong = self._side.wrong()
        if wrong is not None:
            return wrong
        return self._cluster.agent.result() if self._cluster.has_servers else {}

    def so_far(self) -> dict[int, int]:
        """Return it as it is now."""
        return dict(self._cluster.agent.up) if self._cluster.has_servers else {}
