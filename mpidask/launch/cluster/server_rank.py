"""A rank that hosts the scheduler, workers or both, from the meeting to the end of the cluster."""

from __future__ import annotations

import asyncio
import dataclasses
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from mpidask import quantities
from mpidask.compat import dask_settings
from mpidask.errors import LostError, MpidaskError, ShutdownError, as_mpidask_error, caught, warn
from mpidask.launch.cluster import teardown
from mpidask.launch.cluster.announce import StartupProgress, print_banner, print_closing
from mpidask.launch.cluster.contact import share_scheduler
from mpidask.launch.cluster.lost_agent import Replacement, all_lost, pass_on_losses, watch_over
from mpidask.launch.cluster.rank_spec import rank_spec, start_agent
from mpidask.launch.cluster.run import Run
from mpidask.launch.comm.polling import End, Parts, Running, Steps, wait_async
from mpidask.launch.comm.wakeup import Arrivals
from mpidask.launch.imports import import_cache
from mpidask.launch.resources import staggering, walltime
from mpidask.launch.resources.walltime import Clock
from mpidask.launch.script import walltime_alarm
from mpidask.launch.servers import redirection, worker_environment
from mpidask.launch.servers.agent import Agent
from mpidask.launch.servers.agent_messages import Finished, GivenUp
from mpidask.launch.servers.specs import RankSpec
from mpidask.launch.watchdog import OTHERS, mark
from mpidask.security.credentials import Contact

if TYPE_CHECKING:
    from mpidask.launch.servers.hosted import HostedServers

__all__ = ["serve"]


async def serve(
    run: Run,
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
    serving = ServerRank(run, diverts=diverts)
    ready()
    _take_signals(run, serving)
    try:
        await serving.start_scheduler()
        await serving.start_workers()
    except MpidaskError:
        await serving.close()
        raise
    end = await serving.end(until_shutdown=until_shutdown or run.layout.client is None)
    mark("the run", OTHERS)
    serving.is_over = True
    if serving.ending is not None:  # it ends in order now, also if SIGTERM has come
        serving.ending.cancel()
    run.watchdog.end_within(teardown.KILL)
    await serving.close()
    if run.is_reporting:
        print_closing(run, end.status)
    return end


class ServerRank:
    """What this rank has running.

    Workers with nannies, and a scheduler beside them, are in the rank's agent; so is a scheduler alone, if the rank is
    lean. Everything else is in the rank itself.
    """

    def __init__(self, run: Run, *, diverts: bool) -> None:
        self._run, self._world, self._layout, self._diverts = run, run.world, run.layout, diverts
        self._agent: Agent | None = None
        self._replacement: Replacement | None = None  # of the agent, once it is up
        self._hosted: HostedServers | None = None
        self._up_here: Counter[int] = Counter()
        self._contact = Contact("")
        self._dashboard: str | None = None
        self._starting: asyncio.Future[Any] | None = None
        self._wrong: MpidaskError | None = None  # what keeps this rank from going on
        self._status: int | None = None  # with which this rank ends the run
        self.asked = asyncio.Event()  # to end, by a signal
        self.ending: asyncio.TimerHandle | None = None  # the run's, after SIGTERM
        self.is_over = False  # the end has been announced

    async def start_scheduler(self) -> None:
        """Start it on its rank and tell everybody its address; raises StartupError on all ranks."""
        self._wrong = caught(self._prepare)
        mark("start an agent, or prepare")
        made = self._wrong or (await _caught(self._make_scheduler) if self._run.hosts_scheduler else None)
        self._contact = await wait_async(share_scheduler(self._run, made), self._world.arrivals())
        mark("wait for the scheduler", OTHERS)

    def _prepare(self) -> None:
        """Start the agent, which imports Dask while the scheduler comes up elsewhere, or prepare this process."""
        if self._layout.mine or self._run.hosts_scheduler:
            self._prepare_servers()
        self._run.rank.early.discard()

    def _prepare_servers(self) -> None:
        spec = rank_spec(self._run, diverts=self._diverts)
        if self._run.rank.lean if spec.workers is None else spec.workers.nanny:
            self._agent = start_agent(self._run, spec)
        else:
            self._hosted = self._host(spec)

    def _host(self, spec: RankSpec) -> HostedServers:
        """Prepare this process to host the servers."""
        if spec.log is not None:
            redirection.divert(spec.log, warns=spec.warns)
        with import_cache.active(self._run.imports):
            dask_settings.update(spec.config)
            staggering.configure(spec.turn)
            from mpidask.launch.servers.hosted import HostedServers

            worker_environment.load_modules(self._run.options.preload_import if spec.workers is not None else ())
        worker_environment.extend_path(spec.path)
        return HostedServers(spec, lambda: self._run.abort(LostError.status))

    async def _make_scheduler(self) -> Contact:
        if self._hosted is not None:
            listening = await self._hosted.start_scheduler()
            self._dashboard = listening.dashboard
            return listening.contact
        assert self._agent is not None
        coming = self._world.beside(self._agent.scheduler(self._layout.startup_timeout))
        answer = await wait_async(coming, Arrivals(self._agent))
        if isinstance(answer, BaseException):
            raise answer
        self._dashboard = self._agent.dashboard
        return answer

    async def start_workers(self) -> None:
        """Start this rank's workers and wait for all others; raises StartupError on all ranks."""
        self._starting, arrivals = asyncio.ensure_future(_caught(self._make_workers)), self._world.arrivals()
        self._starting.add_done_callback(arrivals.tell)
        coming = Parts(self._starting, self._up)
        watch = StartupProgress(self._layout)
        try:
            policy = dataclasses.replace(watch.policy, over=self._shut_down)
            await wait_async(self._world.agree(coming, policy), arrivals)
        finally:
            watch.done()
            mark("wait for workers", OTHERS)
        self._starting.add_done_callback(self._late)  # with --min-workers it may still be under way
        if self._run.is_reporting:
            print_banner(self._layout, self._contact, self._dashboard)
        # So that the script comes after the banner.
        await wait_async(self._world.share(self._dashboard, self._layout.reporting_rank), arrivals)
        self._run.drop_imports()
        if self._agent is not None:
            self._replacement = watch_over(self._run, self._agent, self._contact, diverts=self._diverts)
        mark("begin the run")

    def _shut_down(self) -> MpidaskError | None:
        """Return the news if the scheduler of this rank has gone already: a client has shut it down, or it is lost."""
        over = self._hosted is not None and self._hosted.is_shut_down()
        if self._agent is not None and self._run.hosts_scheduler and self._starting is not None:
            over = self._starting.done() and not self._starting.cancelled() and self._agent.done()
            if over and self._agent.ended() is None:
                return LostError(f"{teardown.lost_servers(self._run)} ended while workers started")
        return ShutdownError("a client has shut the cluster down before all its workers were up") if over else None

    def _up(self) -> Counter[int]:
        """Return rank -> number of its workers that are up, of those that this rank hosts."""
        return self._agent.up if self._agent is not None else self._up_here

    async def _make_workers(self) -> dict[int, int]:
        if self._wrong is not None:
            raise self._wrong
        if self._agent is None:
            if self._hosted is not None:
                await self._hosted.start_workers(self._contact, lambda rank: self._up_here.update([rank]))
            return dict(self._up_here)
        if not self._run.hosts_scheduler:
            self._agent.tell(self._contact)
        await _done(self._agent)
        answer = self._agent.result()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _late(self, starting: asyncio.Future[Any]) -> None:
        """Say that a worker which was not waited for will not come."""
        if not starting.cancelled() and isinstance(starting.result(), MpidaskError):
            where = f"rank {self._world.rank} on {self._world.host}"
            warn(f"{where} goes without its worker: {starting.result()}", key="lost-worker")

    @property
    def _each_for_itself(self) -> bool:
        """Whether all ranks are workers of a cluster that is elsewhere."""
        return self._layout.scheduler is None and self._layout.client is None

    async def end(self, *, until_shutdown: bool) -> End:
        """Wait for the end: for the script's, or for that of the servers that decide."""
        announced = asyncio.ensure_future(wait_async(self._until_end(), self._world.wakeup))
        waits = {announced, asyncio.ensure_future(self.asked.wait())}
        decides = self._run.hosts_scheduler
        if until_shutdown and (decides or self._each_for_itself):
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
        elif self._each_for_itself:
            await wait_async(self._world.meet())  # in MPI_Finalize the first to come would burn a core
            self._status = await wait_async(all_lost(self._run, self._replacement)) or self._status
        return End(self._status, self._world.rank)

    def _until_end(self) -> Steps[End]:
        """Wait for the end; meanwhile pass on what does not come back."""
        waiting = Running(self._world.await_end())
        for moved in waiting:
            pass_on_losses(self._run, self._replacement, self._give_up)
            yield moved
        return waiting.value

    def _give_up(self, names: Sequence[str]) -> None:
        """Have this rank's scheduler know that these workers do not come back."""
        if self._agent is not None:
            self._agent.tell(GivenUp(names))
        elif self._hosted is not None:
            self._hosted.give_up(names)

    async def _finished(self) -> None:
        """Return when the servers of this rank have ended by themselves; say so if it was for want of work."""
        idle = False
        if self._agent is not None:
            if self._starting is not None:
                await asyncio.wait([self._starting])
            ended = await self._agents_end(self._agent)
            if ended is None and self._run.hosts_scheduler:  # who watches over it ends the run
                await asyncio.Event().wait()
            idle = ended is not None and ended.idle
        elif self._hosted is not None:
            idle = await self._hosted.finished()
        if idle:
            after = self._layout.options.idle_timeout
            sys.stderr.write(f"mpidask: the cluster has had nothing to do for {after} (--idle-timeout): it ends\n")

    async def _agents_end(self, agent: Agent) -> Finished | None:
        """Return how the servers of this rank's agent, or of the one in its place, have ended; None if all are lost."""
        while True:
            await _done(agent)
            ended = agent.ended()
            if ended is not None or self._replacement is None:
                return ended
            following = await self._replacement.after(agent)
            if following is None:
                return None
            agent = following

    async def _until_walltime(self) -> None:
        """Return when the walltime is about to end."""
        clock = Clock(quantities.seconds(self._layout.options.walltime_margin))
        if not clock.runs:
            await asyncio.Event().wait()
        while not clock.is_due():  # noqa: ASYNC110 - there is no event for a clock
            await asyncio.sleep(clock.pause())
        if self._run.is_reporting:
            error = walltime_alarm.error(clock.words(), "cluster")
            sys.stderr.write(error.text())
            self._status = error.status

    async def close(self) -> None:
        """Close everything, give up what has not started yet; never raises."""
        if self._starting is not None:
            self._starting.cancel()
        if self._replacement is not None:
            self._replacement.close(teardown.AGENT)
        elif self._agent is not None:
            self._agent.close(teardown.AGENT)
        mark("wait for the agent's end", OTHERS)
        if self._hosted is not None:
            await self._hosted.close()
            mark("close servers")


async def _done(agent: Agent) -> None:
    """Return when the agent's next answer is there."""

    def looks() -> Steps[None]:
        while not agent.done():
            yield False

    await wait_async(looks(), Arrivals(agent))


async def _caught(function: Callable[[], Awaitable[Any]]) -> Any:
    try:
        return await function()
    except Exception as error:  # noqa: BLE001 - whatever it is, rank 0 reports it
        return as_mpidask_error(error)


def _take_signals(run: Run, serving: ServerRank) -> None:
    """Leave signals to the script's rank: mpirun and batch systems send them to all ranks.

    Without a script a signal is how a user ends the cluster, in order.
    """
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    if run.layout.client is None and run.layout.scheduler in (None, run.world.rank):
        loop.add_signal_handler(signal.SIGINT, serving.asked.set)
        loop.add_signal_handler(signal.SIGTERM, serving.asked.set)
    else:
        loop.add_signal_handler(signal.SIGTERM, _on_term, run, serving)


def _on_term(run: Run, serving: ServerRank) -> None:
    """End the run, but first let a script that has a handler of its own do what it needs to."""
    if not walltime.take_for_warning() and not serving.is_over:
        grace = teardown.TERM_GRACE if run.layout.client is not None else teardown.END_GRACE
        serving.ending = asyncio.get_running_loop().call_later(grace, teardown.end_after_term, run)
