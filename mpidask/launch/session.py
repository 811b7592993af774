"""Session: a Dask cluster on the ranks of a communicator, in a program that goes on afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Awaitable, Callable, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar

from mpidask import quantities
from mpidask.compat import python
from mpidask.errors import MpidaskError
from mpidask.launch import process_state
from mpidask.launch.cluster import client_rank, rendezvous, teardown
from mpidask.launch.cluster.run import GivenOptions, Invocation, OptionsRequest, Run
from mpidask.launch.comm.polling import End, Steps, wait, wait_async
from mpidask.launch.comm.rank import Rank
from mpidask.launch.exit_hook import EXIT_HOOK
from mpidask.launch.script import current
from mpidask.launch.script.walltime_alarm import Alarm
from mpidask.launch.servers import log_filters
from mpidask.launch.watchdog.launcher_environment import TOKEN
from mpidask.launch.watchdog.watchdog import Watchdog
from mpidask.security import credentials

if TYPE_CHECKING:
    from mpi4py import MPI

__all__ = ["Session"]

T = TypeVar("T")

_MEET, _MEET_LONGER = 5.0, 7.0  # s for all ranks to have closed: on the client's rank, on the others


class _NotTheClientError(Exception):
    """Ends the body of a `with` on ranks that are not the client's."""


class Session:
    """A Dask cluster on the ranks of a communicator, in a program that goes on afterwards.

    Every rank of the communicator opens the session; one of them hosts the scheduler, one is the client, the rest are
    workers. The client's rank goes on at once. The others serve until it closes the session, then they go on as well.
    On the other ranks whatever needs the scheduler's address, such as ``Client(session)``, skips the rest of the
    ``with``; `is_client` says who is who. ``async with`` works as well.

    While the session is open the walltime of the batch job is watched, on the client's rank: see `on_walltime`. What
    the ranks print stays where it is; with `exit` it goes to the rank's log in the run directory, if the job has one.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm, optional
        Communicator whose ranks take part; the session uses a duplicate of it. Default: all ranks (COMM_WORLD).
    exit : bool, default False
        True: the cluster stays until the script has ended, and the other ranks' processes end then.
    **options : Any
        The options of ``mpidask run``, with underscores: ``nthreads``, ``memory_limit``, ``interface``,
        ``client_rank``, ... Default: Dask's configuration (section mpidask), or detected on the machine.

    Attributes
    ----------
    is_client : bool
        Whether this rank is the client's.
    exit : bool
        As given.

    Raises
    ------
    UsageError
        An option cannot be used; when the session is opened, on all ranks.
    WorldTooSmallException
        There are too few ranks; on all ranks.
    StartupError
        The cluster does not come up; on all ranks.
    WalltimeError
        There is no time left for a cluster; on all ranks.

    See Also
    --------
    initialize : A cluster for the rest of the script.

    Examples
    --------
    >>> with mpidask.Session() as session, Client(session) as client:  # doctest: +SKIP
    ...     client.submit(sum, [1, 2]).result()  # on the client's rank alone
    3
    >>> MPI.COMM_WORLD.barrier()  # all ranks  # doctest: +SKIP
    """

    def __init__(self, *, comm: MPI.Intracomm | None = None, exit: bool = False, **options: Any) -> None:  # noqa: A002 - dask_mpi's word
        self.exit = exit
        self.is_client = False
        self._comm = comm
        self._request: OptionsRequest = GivenOptions(options)
        self._with_client = True
        self._rank: Rank | None = None
        self._run: Run | None = None  # once the ranks have met
        self._cluster: current.CurrentCluster | None = None
        self._own: client_rank.ClientCluster | None = None  # the same, where it is this session's to close
        self._alarm: Alarm | None = None
        self._before = process_state.ProcessState()
        self._stack = contextlib.ExitStack()  # held for what it holds

    @classmethod
    def of(
        cls, request: OptionsRequest, *, comm: MPI.Intracomm | None, leave: bool, with_client: bool = True
    ) -> Session:
        """Return a session whose options are what a request makes of the number of ranks, on rank 0.

        Parameters
        ----------
        request : OptionsRequest
            What has been asked for.
        comm : mpi4py.MPI.Intracomm or None
            Communicator whose ranks take part; None for all ranks.
        leave : bool
            The other ranks' processes end with the session.
        with_client : bool, default True
            False: a cluster without a client's rank, which ends when a client from elsewhere shuts it down.

        Returns
        -------
        Session
            It is not open yet.
        """
        session = cls(comm=comm, exit=leave)
        session._request = request
        session._with_client = with_client
        return session

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
    def open(self) -> Self:
        """Open the session; return on the client's rank at once, on the others when it has ended.

        Returns
        -------
        Session
            This session.

        Raises
        ------
        MpidaskError
            The cluster does not come up; the same error on all ranks.
        """
        if not self._meet():
            return self
        if self.is_client:
            self._check(lambda: wait(self._start()))
        else:
            with process_state.serving():
                end = self._check(lambda: asyncio.run(self._serve()))
            wait(self._part(end))
        return self

    async def open_async(self) -> Self:
        """Open the session from within an event loop, in which the other ranks serve.

        Returns
        -------
        Session
            This session.

        Raises
        ------
        MpidaskError
            The cluster does not come up; the same error on all ranks.
        """
        if not self._meet():
            return self
        try:
            if self.is_client:
                await wait_async(self._start())
                return self
            with process_state.serving():
                end = await self._serve()
        except MpidaskError as error:
            self._give_up(error)
        await wait_async(self._part(end))
        return self

    def _meet(self) -> bool:
        """Bring the ranks together; return False inside a run that has brought them together already."""
        if current.current() is not None:
            self._cluster, self.is_client = current.current(), True
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

    def _start(self) -> Steps[None]:
        """On the client's rank: wait for the cluster."""
        run = self._met
        self._cluster = self._own = cluster = client_rank.ClientCluster(run, client_rank.InRank(run), diverts=self.exit)
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
        if end.sender == self.rank.world.rank and end.status:  # the walltime is about to end
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
                    sys.stderr.write("mpidask: error: a rank did not close the session in time; the run is aborted\n")
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
            self.rank.watchdog.dismiss()
            self._before.give_back()

    # ----------------------------------------------------------------- closing
    def close(self) -> Awaitable[None] | None:
        """Close the cluster and release the other ranks; nothing happens the second time.

        With `exit` the script's end closes it.

        Returns
        -------
        Awaitable or None
            Inside an event loop an awaitable.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            wait(self._close())
            return None
        return wait_async(self._close())

    def _close(self) -> Steps[None]:
        if not self.exit:
            yield from self._closing(None)

    def script_ended(self) -> None:
        """Leave the script's end alone: it has ended."""
        if self._alarm is not None:
            self._alarm.script_ended()

    def end(self, status: int | None) -> None:
        """Close the cluster.

        Parameters
        ----------
        status : int or None
            The script's exit status; None if it is not known.
        """
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

    # ------------------------------------------------------------- what Dask asks of a cluster
    @property
    def scheduler_address(self) -> str:
        """Address of the scheduler; on other ranks than the client's it skips the rest of the `with`."""
        if self._cluster is None:
            raise _NotTheClientError
        return self._cluster.address

    @property
    def security(self) -> Any:
        """What a client needs to be let in; None without TLS, or with keys of the user's own."""
        return credentials.security_of(self._cluster.contact) if self._cluster is not None else None

    @property
    def dashboard_link(self) -> str | None:
        """Address of the dashboard, on the client's rank; None if there is none."""
        return self._cluster.dashboard if self._cluster is not None else None

    @property
    def status(self) -> Any:
        """Dask's status of the cluster: running or closed."""
        from distributed import Status

        return Status.running if self._cluster is not None and not self._cluster.closed else Status.closed

    def __await__(self) -> Generator[Any, None, Self]:
        """Return the session: a client awaits its cluster."""

        async def _() -> Self:
            return self

        return _().__await__()

    # ----------------------------------------------------------------- as a context
    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        _remember(error)
        wait(self._close())
        return isinstance(error, _NotTheClientError)

    async def __aenter__(self) -> Self:
        return await self.open_async()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        _remember(error)
        await wait_async(self._close())
        return isinstance(error, _NotTheClientError)


def _remember(error: BaseException | None) -> None:
    """Keep the exit status of what leaves a session in disorder, should nobody catch it."""
    if isinstance(error, SystemExit):
        EXIT_HOOK.failed = error.code if isinstance(error.code, int) else int(error.code is not None)
