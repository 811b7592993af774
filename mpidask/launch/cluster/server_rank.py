"""A rank that hosts the scheduler, workers or both, from the meeting to the end of the cluster."""

from __future__ import annotations

import asyncio
import dataclasses
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from mpidask import config, dask_settings
from mpidask.errors import LostError, MpidaskError, ShutdownError, as_mpidask_error, caught
from mpidask.launch.cluster import teardown
from mpidask.launch.cluster.announce import StartupProgress, print_banner, print_closing
from mpidask.launch.cluster.layout import Layout
from mpidask.launch.cluster.rank_spec import scheduler_spec, start_agent, worker_group_spec
from mpidask.launch.comm.polling import End, Steps, wait_async
from mpidask.launch.comm.startup_errors import no_scheduler
from mpidask.launch.comm.world import World
from mpidask.launch.imports import import_cache
from mpidask.launch.resources import staggering, walltime
from mpidask.launch.resources.walltime import Clock
from mpidask.launch.script import walltime_alarm
from mpidask.launch.servers import redirection, worker_environment
from mpidask.launch.servers.agent import Agent
from mpidask.launch.servers.specs import SchedulerSpec
from mpidask.security.credentials import Contact

__all__ = ["serve"]

_TERM_GRACE = 3.0  # s in which the script may end by itself after another rank got SIGTERM


async def serve(
    world: World,
    layout: Layout,
    *,
    until_shutdown: bool = False,
    diverts: bool = False,
    ready: Callable[[], None] = lambda: None,
) -> End:
    """Serve to the end of the cluster and close everything; return who announced the end.

    until_shutdown: the cluster also ends when a client shuts it down, not only with the script
    diverts:        this process may print to the rank's log from here on
    ready:          called when signals are this rank's own
    Raises StartupError, on all ranks, if the cluster does not come up.
    """
    serving = ServerRank(world, layout, diverts=diverts)
    ready()
    _take_signals(world, layout, serving)
    try:
        await serving.start_scheduler()
        await serving.start_workers()
    except MpidaskError:
        await serving.close()
        raise
    end = await serving.end(until_shutdown=until_shutdown or layout.client is None)
    world.watchdog.end_within(teardown.KILL)
    await serving.close()
    if world.rank == layout.reporting_rank:
        print_closing(layout, end.status)
    return end


class ServerRank:
    """What this rank has running.

    Workers with nannies, and a scheduler beside them, are in the rank's agent; everything else is in the rank itself.
    """

    def __init__(self, world: World, layout: Layout, *, diverts: bool) -> None:
        self._world, self._layout, self._diverts = world, layout, diverts
        self._agent: Agent | None = None
        self._hosted: HostedServers | None = None
        self._contact = Contact("")
        self._dashboard: str | None = None
        self._starting: asyncio.Future[Any] | None = None
        self._wrong: MpidaskError | None = None  # what keeps this rank from going on
        self._status: int | None = None  # with which this rank ends the run
        self.asked = asyncio.Event()  # to end, by a signal

    async def start_scheduler(self) -> None:
        """Start it on its rank and tell everybody its address; raises StartupError on all ranks."""
        self._wrong = caught(self._prepare)
        root = self._layout.scheduler
        if root is None:
            assert self._layout.joined is not None
            self._contact = self._layout.joined
            return
        value: Any = None
        if self._world.rank == root:
            value = self._wrong or await _caught(self._make_scheduler)
        if isinstance(value, MpidaskError):
            value = no_scheduler(value, root, self._world.host)
        value = await wait_async(self._world.share(value, root))
        if isinstance(value, MpidaskError):
            raise value
        self._contact = value

    def _prepare(self) -> None:
        """Start the agent, which imports Dask while the scheduler comes up elsewhere, or prepare this process."""
        if self._layout.mine and self._layout.options.nanny:
            self._agent = start_agent(self._world, self._layout, diverts=self._diverts)
        elif self._layout.mine or self._layout.scheduler == self._world.rank:
            if self._diverts:
                redirection.divert_rank(self._world, self._layout)
            with import_cache.active(self._world.imports):
                dask_settings.update(self._world.configuration)
                staggering.configure(self._layout.turn)
                import mpidask.launch.servers.server_start  # noqa: F401 - all that it stands on

                worker_environment.load_modules(self._layout.options.preload_import if self._layout.mine else ())
            worker_environment.extend_path(self._layout.path)
            self._hosted = HostedServers(self._world, self._layout)

    async def _make_scheduler(self) -> Contact:
        if self._hosted is not None:
            contact, self._dashboard = await self._hosted.start_scheduler()
            return contact
        assert self._agent is not None
        answer = await wait_async(self._agent.scheduler())
        if isinstance(answer, BaseException):
            raise answer
        self._dashboard = self._agent.dashboard
        return answer

    async def start_workers(self) -> None:
        """Start this rank's workers and wait for all others; raises StartupError on all ranks."""
        if self._hosted is not None:
            self._hosted.start_pages()
        self._starting = asyncio.ensure_future(_caught(self._make_workers))
        watch = StartupProgress(self._layout)
        try:
            policy = dataclasses.replace(watch.policy, over=self._shut_down)
            await wait_async(self._world.agree(self._starting, policy))
        finally:
            watch.done()
        self._starting.add_done_callback(self._late)  # with --min-workers it may still be under way
        if self._world.rank == self._layout.reporting_rank:
            print_banner(self._layout, self._contact, self._dashboard)
        await wait_async(
            self._world.share(self._dashboard, self._layout.reporting_rank)
        )  # so that the script comes after the banner
        self._world.drop_imports()
        if self._agent is not None:
            self._agent.watch(lambda status: teardown.lose_agent(self._world, self._layout, status))

    def _shut_down(self) -> MpidaskError | None:
        """Return the news if a client has shut the scheduler of this rank down already."""
        over = self._hosted is not None and self._hosted.is_over()
        if self._agent is not None and self._layout.scheduler == self._world.rank and self._starting is not None:
            over = self._starting.done() and not self._starting.cancelled() and self._agent.done()
        return ShutdownError("a client has shut the cluster down before all its workers were up") if over else None

    async def _make_workers(self) -> int:
        if self._wrong is not None:
            raise self._wrong
        if self._agent is None:
            return await self._hosted.start_workers(self._contact) if self._hosted is not None else 0
        if self._layout.scheduler != self._world.rank:
            self._agent.tell(self._contact)
        await wait_async(_until(self._agent.done))
        answer = self._agent.result()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _late(self, starting: asyncio.Future[Any]) -> None:
        """Say that a worker which was not waited for will not come."""
        if not starting.cancelled() and isinstance(starting.result(), MpidaskError):
            where = f"rank {self._world.rank} on {self._world.host}"
            sys.stderr.write(f"mpidask: warning: {where} goes without its worker: {starting.result()}\n")

    async def end(self, *, until_shutdown: bool) -> End:
        """Wait for the end: for the script's, or for that of the servers that decide."""
        announced = asyncio.ensure_future(wait_async(self._world.await_end(), self._world.wakeup))
        waits = {announced, asyncio.ensure_future(self.asked.wait())}
        decides = self._layout.scheduler == self._world.rank
        each_for_itself = self._layout.scheduler is None and self._layout.client is None
        if until_shutdown and (decides or each_for_itself):
            waits.add(asyncio.ensure_future(self._finished()))
            if self._layout.client is None:  # who would look at the clock
                waits.add(asyncio.ensure_future(self._until_walltime()))
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for each in waits:
            each.cancel()
        if announced.done() and not announced.cancelled():
            return announced.result()
        if decides:
            self._world.announce_end(None)
        elif each_for_itself:
            await wait_async(self._world.meet())  # in MPI_Finalize the first to come would burn a core
        return End(self._status, self._world.rank)

    async def _finished(self) -> None:
        """Return when the servers of this rank have ended by themselves; say so if it was for want of work."""
        idle = False
        if self._agent is not None:
            if self._starting is not None:
                await asyncio.wait([self._starting])
            await wait_async(_until(self._agent.done))
            idle = self._agent.finished()
        elif self._hosted is not None:
            idle = await self._hosted.finished()
        if idle:
            after = self._layout.options.idle_timeout
            sys.stderr.write(f"mpidask: the cluster has had nothing to do for {after} (--idle-timeout): it ends\n")

    async def _until_walltime(self) -> None:
        """Return when the walltime is about to end."""
        clock = Clock(config.seconds(self._layout.options.walltime_margin))
        if not clock.runs:
            await asyncio.Event().wait()
        while not clock.is_due():  # noqa: ASYNC110 - there is no event for a clock
            await asyncio.sleep(clock.pause())
        if self._world.rank == self._layout.reporting_rank:
            error = walltime_alarm.error(clock.words(), "cluster")
            sys.stderr.write(error.text())
            self._status = error.status

    async def close(self) -> None:
        """Close everything, give up what has not started yet; never raises."""
        if self._starting is not None:
            self._starting.cancel()
        if self._agent is not None:
            self._agent.close(2 * teardown.CLOSE)
        if self._hosted is not None:
            await self._hosted.close()


class HostedServers:
    """Servers in the rank's own process: the scheduler, workers without nannies."""

    def __init__(self, world: World, layout: Layout) -> None:
        self._world, self._layout = world, layout
        self._plan: SchedulerSpec | None = None
        self._scheduler: Any = None
        self._workers: list[Any] = []
        self._kept: asyncio.Future[None] | None = None  # watches over them
        self._pages: asyncio.Future[None] | None = None

    async def start_scheduler(self) -> tuple[Contact, str | None]:
        """Return where it is, and the link to its dashboard."""
        from mpidask.launch.servers import server_start

        self._plan = scheduler_spec(self._world, self._layout)
        self._scheduler = await server_start.start_scheduler(self._plan, self._give_up)
        contact = server_start.contact(self._scheduler, self._plan)
        return contact, server_start.dashboard_link(self._scheduler, self._plan)

    def _give_up(self) -> None:
        """End the run: no worker is left."""
        teardown.tidy(self._world, self._layout)
        self._world.abort(LostError.status)

    def start_pages(self) -> None:
        """Have the dashboard's pages made while workers start."""
        from mpidask.launch.servers import server_start

        if self._plan is not None and self._plan.dashboard:
            self._pages = asyncio.ensure_future(server_start.start_dashboard(self._scheduler, self._plan))

    async def start_workers(self, scheduler: Contact) -> int:
        """Return their number when they are up; raises StartupError."""
        if not self._layout.mine:
            return 0
        from mpidask.launch.servers import reconnecting, server_start

        plan = worker_group_spec(self._world, self._layout, scheduler)
        self._workers = await server_start.start_workers(plan)
        self._kept = asyncio.ensure_future(reconnecting.keep_workers(plan, self._workers))
        return len(self._layout.mine)

    def is_over(self) -> bool:
        """Whether a client has shut the scheduler down."""
        return self._scheduler is not None and self._scheduler.status.name in ("closing", "closed")

    async def finished(self) -> bool:
        """Return when they have ended by themselves, and whether for want of work."""
        from mpidask.launch.servers import server_start

        if self._scheduler is not None:
            await self._scheduler.finished()
        elif self._kept is not None:
            await self._kept
        return self._scheduler is not None and server_start.idled_out(self._scheduler)

    async def close(self) -> None:
        """Close all; never raises."""
        from mpidask.launch.servers import server_start

        if self._kept is not None:
            self._kept.cancel()
            await asyncio.wait([self._kept], timeout=teardown.CLOSE)
        await server_start.close_all(self._workers, self._scheduler, teardown.CLOSE)


def _until(done: Callable[[], bool]) -> Steps[None]:
    while not done():
        yield False


async def _caught(function: Callable[[], Awaitable[Any]]) -> Any:
    try:
        return await function()
    except Exception as error:  # noqa: BLE001 - whatever it is, rank 0 reports it
        return as_mpidask_error(error)


def _take_signals(world: World, layout: Layout, serving: ServerRank) -> None:
    """Leave signals to the script's rank: mpirun and batch systems send them to all ranks.

    Without a script a signal is how a user ends the cluster, in order.
    """
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    if layout.client is None and layout.scheduler in (None, world.rank):
        loop.add_signal_handler(signal.SIGINT, serving.asked.set)
        loop.add_signal_handler(signal.SIGTERM, serving.asked.set)
    else:
        loop.add_signal_handler(signal.SIGTERM, _on_term, world, layout)


def _on_term(world: World, layout: Layout) -> None:
    """End the run, but first let a script that has a handler of its own do what it needs to."""
    if walltime.take_for_warning():
        return

    def end() -> None:
        sys.stderr.write(
            f"mpidask: error: rank {world.rank} ({layout.role}) on {world.host} got SIGTERM; the run ends\n"
        )
        teardown.tidy(world, layout)
        world.abort(teardown.TERMINATED)

    asyncio.get_running_loop().call_later(_TERM_GRACE, end)
