"""One rank's way through a session: it meets the others, plays its role, and parts from them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn, TypeVar

from mpidask import quantities
from mpidask.compat import python
from mpidask.errors import LostError, MpidaskError
from mpidask.launch import process_state
from mpidask.launch.cluster import client_rank, rendezvous, teardown
from mpidask.launch.cluster.run import Invocation, OptionsRequest, Run
from mpidask.launch.comm.polling import End, Steps, wait, wait_async
from mpidask.launch.comm.rank import Rank
from mpidask.launch.exit_hook import EXIT_HOOK
from mpidask.launch.script import current
from mpidask.launch.script.walltime_alarm import Alarm
from mpidask.launch.servers import log_filters
from mpidask.launch.watchdog import end_timeline
from mpidask.launch.watchdog.launcher_environment import TOKEN
from mpidask.launch.watchdog.watchdog import Watchdog

if TYPE_CHECKING:
    from mpi4py import MPI

__all__ = ["SessionRank"]

T = TypeVar("T")

_MEET, _MEET_LONGER = 6.5, 7.5  # s for all ranks to have closed: on the client's rank, on the others


class SessionRank:
    """A rank of a session: this process.

    exit:      whether the ranks' processes end with the session
    is_client: whether it is the client's rank
    cluster:   the cluster, once it is up, on the client's rank; inside a run the run's
    """

    def __init__(
        self,
        request: OptionsRequest,
        comm: MPI.Intracomm | None,
        *,
        exit: bool,  # noqa: A002 - dask_mpi's word
        with_client: bool = True,
    ) -> None:
        self.exit = exit
        self.is_client = False
        self.cluster: current.CurrentCluster | None = None
        self._request, self._comm, self._with_client = request, comm, with_client
        self._rank: Rank | None = None
        self._run: Run | None = None  # once the ranks have met
        self._own: client_rank.ClientCluster | None = None  # the cluster, where it is this session's to close
        self._alarm: Alarm | None = None
        self._before: process_state.ProcessState  # once it has met the others
        self._stack = contextlib.ExitStack()  # held for what it holds

    @property
    def rank(self) -> Rank:
        """One of the session's ranks: this process, once it has been opened."""
        assert self._rank is not None
        return self._rank

    @property
    def _met(self) -> Run:
        """The run, once the ranks have met."""
        assert self._run is not None
        return self._run

    # ----------------------------------------------------------------- opening
    def open(self) -> None:
        """Open the session; on other ranks than the client's return when it has ended."""
        if not self._meet():
            return
        if self.is_client:
            cluster = self._own_cluster()
            self._check(lambda: wait(self._start(cluster), cluster.arrivals))
        else:
            with process_state.serving():
                end = self._check(lambda: asyncio.run(self._serve()))
            wait(self._part(end))

    async def open_async(self) -> None:
        """Do the same within an event loop, in which the other ranks serve."""
        if not self._meet():
            return
        try:
            if self.is_client:
                cluster = self._own_cluster()
                await wait_async(self._start(cluster), cluster.arrivals)
                return
            with process_state.serving():
                end = await self._serve()
        except MpidaskError as error:
            self._give_up(error)
        await wait_async(self._part(end))

    def _meet(self) -> bool:
        """Bring the ranks together; return False inside a run that has brought them together already."""
        if current.current() is not None:
            self.cluster, self.is_client = current.current(), True
            return False
        process_state.check()
        EXIT_HOOK.prepare()
        self._before = process_state.ProcessState()
        self._rank = Rank.join(Watchdog.start_apart(), self._comm)
        self._run = self._check(lambda: rendezvous.meet(self.rank, self._read))
        EXIT_HOOK.grace = quantities.seconds(self._run.options.thread_grace)
        self.is_client = self._run.layout.client == self._run.world.rank
        return True

    def _read(self) -> Invocation:
        """On rank 0: return what is asked for."""
        return Invocation(self._request.options(self.rank.world.size), has_client=self._with_client)

    def _check(self, function: Callable[[], T]) -> T:
        try:
            return function()
        except MpidaskError as error:
            self._give_up(error)

    def _tidy(self) -> None:
        (self._run or self.rank).tidy()

    def _give_up(self, error: MpidaskError) -> NoReturn:
        """Raise the error that all ranks have got, with nothing left behind; one of them is to report it."""
        error.silent = self.rank.world.rank != 0
        self._tidy()
        if wait(self.rank.world.meet(_MEET)):
            self._release()
        self._return()
        raise error

    def _own_cluster(self) -> client_rank.ClientCluster:
        """On the client's rank: return the session's cluster, before it is up."""
        self._own = client_rank.ClientCluster(self._met, client_rank.InRank(self._met), diverts=self.exit)
        self.cluster = self._own
        return self._own

    def _start(self, cluster: client_rank.ClientCluster) -> Steps[None]:
        """On the client's rank: wait for the cluster."""
        run = self._met
        yield from cluster.start()
        self._before.note()
        current.enter(cluster)
        EXIT_HOOK.sessions.append(self)
        EXIT_HOOK.client = True
        if self._leaves:
            os.environ[TOKEN] = run.watchdog.token  # what the script starts ends with it
            client_rank.restore_signals()
            self._stack.enter_context(python.ending_by_os_exit(EXIT_HOOK.os_exit))
        margin = quantities.seconds(run.options.walltime_margin)
        self._alarm = Alarm(margin, run.watchdog, lambda status: EXIT_HOOK.end_by_force(self, status), EXIT_HOOK.fail)
        self._alarm.set()

    @property
    def _leaves(self) -> bool:
        """Whether the ranks' processes end with the session."""
        return self.exit and self.rank.world.whole

    # ----------------------------------------------------------------- serving
    async def _serve(self) -> End:
        """On the other ranks: serve until the end; with `exit` never returns."""
        from mpidask.launch.cluster.server_rank import serve

        os.environ[TOKEN] = self.rank.watchdog.token
        end = await serve(self._met, until_shutdown=not self.exit, diverts=self.exit)
        if self._leaves:
            teardown.leave_in_order(self._met, teardown.own_status(self.rank.world, end))
        return end

    def _part(self, end: End) -> Steps[None]:
        """On the other ranks: go on, or out, when all have closed."""
        self._tidy()
        if end.sender == self._met.layout.client:
            yield from self._all_closed(_MEET_LONGER)
        self._return()
        if end.sender == self.rank.world.rank and end.status:  # the walltime is about to end, or all workers are lost
            EXIT_HOOK.fail(end.status)
            sys.exit(end.status)
        if self.exit:
            sys.exit()

    def _all_closed(self, timeout: float) -> Steps[None]:
        """Wait until all ranks have closed, unless a client has shut the cluster down: then they go as they come."""
        meeting = self.rank.world.meet(timeout)
        while True:
            try:
                next(meeting)
            except StopIteration as met:
                if not met.value:
                    what = "a rank did not close the session in time; the run is aborted"
                    LostError(what, key="too-slow-to-end").report()
                    self.rank.world.abort(1)
                self._release()
                return
            if self.rank.world.ended() is not None:
                return
            yield False

    def _release(self) -> None:
        """Give the communicator back, but keep one of all ranks for their common end."""
        if self.rank.world.whole and EXIT_HOOK.rank is None:
            EXIT_HOOK.rank = self.rank
        else:
            self.rank.world.release()

    def _return(self) -> None:
        """Give back what is not MPI's."""
        if not self._leaves:  # the process goes on
            end_timeline()
            self.rank.watchdog.dismiss()
            self._before.give_back()

    # ----------------------------------------------------------------- closing
    def close(self) -> Steps[None]:
        """Close the cluster, unless the script's end closes it."""
        if not self.exit:
            yield from self._closing(None)

    def script_ended(self) -> None:
        """Leave the script's end alone: it has ended."""
        if self._alarm is not None:
            self._alarm.script_ended()

    def end(self, status: int | None) -> None:
        """Close the cluster; status: the script's exit status, None if it is not known."""
        wait(self._closing(status))

    def _closing(self, status: int | None) -> Steps[None]:
        if self._own is None or self._own.closed:
            return
        if self._alarm is not None:
            self._alarm.stop()
        with contextlib.suppress(ValueError):
            EXIT_HOOK.sessions.remove(self)
        shut_down = self.rank.world.ended() is not None
        self._own.close(status)
        self._tidy()
        if not shut_down:
            yield from self._all_closed(_MEET)
        current.leave(self._own)
        self._return()
        log_filters.restore()
