"""Session: a Dask cluster on the ranks of a communicator, in a program that goes on afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar

from mpidask import config
from mpidask.config import Options
from mpidask.errors import MpidaskError, UsageError
from mpidask.launch import process_state
from mpidask.launch.cluster import client_rank, discovery, teardown
from mpidask.launch.cluster.layout import Layout, meet, settle
from mpidask.launch.comm.polling import End, Steps, wait, wait_async
from mpidask.launch.comm.world import World
from mpidask.launch.exit_hook import EXIT_HOOK
from mpidask.launch.imports import import_sharing
from mpidask.launch.resources import walltime
from mpidask.launch.script import current, interpreter_end
from mpidask.launch.script.walltime_alarm import Alarm
from mpidask.launch.servers import log_filters
from mpidask.launch.watchdog.launcher_environment import TOKEN
from mpidask.launch.watchdog.shared_memory import segments_of
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
    """A Dask cluster on the ranks of a communicator: one hosts the scheduler, one is the client, the rest workers.

    Every rank of the communicator opens the session. The client's rank goes on at once; the others serve until it
    closes the session, then they go on as well::

        with mpidask.Session() as session, Client(session) as client:
            ...  # the client's rank alone
        ...      # all ranks

    On the other ranks whatever needs the scheduler's address, such as ``Client(session)``, skips the rest of the
    ``with``; `is_client` says who is who. ``async with`` works as well.

    comm:    communicator whose ranks take part; all ranks (COMM_WORLD) if None. It stays as it is: the session has a
             duplicate of its own
    exit:    True: the cluster stays until the script has ended, and the other ranks' processes end then
    options: those of ``mpidask run``, with underscores: nthreads, memory_limit, interface, client_rank, ...; what is
             not given is taken from Dask's configuration (section mpidask), or found out on the machine

    While it is entered the walltime of the batch job is watched, on the client's rank: see `on_walltime`. What the
    ranks print stays where it is; with `exit` it goes to the rank's log in the run directory, if the job has one.

    Opening it raises, on all ranks, UsageError for options that cannot be used, WorldTooSmallException for too few
    ranks, StartupError if the cluster does not come up, WalltimeError if there is no time left for it.
    """

    def __init__(self, *, comm: MPI.Intracomm | None = None, exit: bool = False, **options: Any) -> None:  # noqa: A002 - dask_mpi's word
        self.exit = exit
        self.is_client = False
        self.world: World
        self._comm = comm
        self._read: Callable[[], Options] = lambda: config.load(options)
        self._with_client = True
        self._layout: Layout | None = None
        self._cluster: current.CurrentCluster | None = None
        self._own: client_rank.ClientCluster | None = None  # the same, where it is this session's to close
        self._alarm: Alarm | None = None
        self._before = process_state.ProcessState()
        self._stack = contextlib.ExitStack()  # held for what it holds

    @classmethod
    def of(
        cls, read: Callable[[World], Options], *, comm: MPI.Intracomm | None, leave: bool, with_client: bool = True
    ) -> Session:
        """Return a session whose options are read by a function, on rank 0.

        leave:       the other ranks' processes end with it
        with_client: False for a cluster without a client's rank, which ends when a client from elsewhere shuts it down
        """
        session = cls(comm=comm, exit=leave)
        session._read = lambda: read(session.world)
        session._with_client = with_client
        return session

    # ----------------------------------------------------------------- opening
    def open(self) -> Self:
        """Open the session; return on the client's rank at once, on the others when it has ended."""
        layout = self._meet()
        if layout is None:
            return self
        if self.is_client:
            self._check(lambda: wait(self._start()))
        else:
            with process_state.serving():
                end = self._check(lambda: asyncio.run(self._serve()))
            wait(self._part(end))
        return self

    async def open_async(self) -> Self:
        """Open the session from within an event loop, in which the other ranks serve."""
        layout = self._meet()
        if layout is None:
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

    def _meet(self) -> Layout | None:
        """Bring the ranks together; return None inside a run that has brought them together already."""
        if current.current() is not None:
            self._cluster, self.is_client = current.current(), True
            return None
        if threading.current_thread() is not threading.main_thread():
            raise UsageError("a session was opened in a thread", "open it in the main thread: signals arrive there")
        if multiprocessing.parent_process() is not None or _is_being_prepared():
            raise UsageError(
                "a process that the script has started runs the script again, and opens a session",
                'put what is to run once under `if __name__ == "__main__":`',
            )
        EXIT_HOOK.prepare()
        self._before = process_state.ProcessState()
        self.world = World.of(self._comm, Watchdog.start_apart())
        self.world.own(segments_of("self", self.world.watchdog.token))
        return self._check(self._lay_out)

    def _lay_out(self) -> Layout:
        options = settle(self.world, self._in_time)
        self.world.imports = import_sharing.share(self.world, options)
        joined = discovery.locate(self.world, options)
        self._layout = layout = meet(self.world, options, with_client=self._with_client, joined=joined)
        EXIT_HOOK.grace = config.seconds(options.thread_grace)
        self.is_client = layout.client == self.world.rank
        return layout

    def _in_time(self) -> Options:
        """Return the options; raises WalltimeError if there is no time left for a cluster."""
        walltime.check()
        return self._read()

    def _check(self, function: Callable[[], T]) -> T:
        try:
            return function()
        except MpidaskError as error:
            self._give_up(error)

    def _give_up(self, error: MpidaskError) -> NoReturn:
        """Raise the error that all ranks have got, with nothing left behind; one of them is to report it."""
        error.silent = self.world.rank != 0
        teardown.tidy(self.world, self._layout)
        if wait(self.world.meet(_MEET)):
            self._release()
        self._return()
        raise error

    def _start(self) -> Steps[None]:
        """On the client's rank: wait for the cluster."""
        assert self._layout is not None
        side = client_rank.InRank(self.world, self._layout)
        self._cluster = self._own = cluster = client_rank.ClientCluster(
            self.world, self._layout, side, diverts=self.exit
        )
        yield from cluster.start()
        self._before.note()
        current.enter(cluster)
        EXIT_HOOK.sessions.append(self)
        EXIT_HOOK.client = True
        if self.exit and self.world.whole:
            os.environ[TOKEN] = self.world.watchdog.token  # what the script starts ends with it
            client_rank.restore_signals()
            self._stack.enter_context(interpreter_end.ending_by_os_exit(EXIT_HOOK.os_exit))
        margin = config.seconds(self._layout.options.walltime_margin)
        self._alarm = Alarm(
            margin, self.world.watchdog, lambda status: EXIT_HOOK.end_by_force(self, status), EXIT_HOOK.fail
        )
        self._alarm.set()

    # ----------------------------------------------------------------- serving
    async def _serve(self) -> End:
        """On the other ranks: serve until the end; with `exit` never returns."""
        from mpidask.launch.cluster.server_rank import serve

        assert self._layout is not None
        os.environ[TOKEN] = self.world.watchdog.token
        end = await serve(self.world, self._layout, until_shutdown=not self.exit, diverts=self.exit)
        if self.exit and self.world.whole:
            teardown.leave_in_order(self.world, self._layout, teardown.own_status(self.world, end))
        return end

    def _part(self, end: End) -> Steps[None]:
        """On the other ranks: go on, or out, when all have closed."""
        teardown.tidy(self.world, self._layout)
        if self._layout is not None and end.sender == self._layout.client:
            yield from self._all_closed(_MEET_LONGER)
        self._return()
        if end.sender == self.world.rank and end.status:  # the walltime is about to end
            EXIT_HOOK.fail(end.status)
            sys.exit(end.status)
        if self.exit:
            sys.exit()

    def _all_closed(self, timeout: float) -> Steps[None]:
        """Wait until all ranks have closed, unless a client has shut the cluster down: then they go as they come."""
        meeting = self.world.meet(timeout)
        while True:
            try:
                next(meeting)
            except StopIteration as met:
                if not met.value:
                    sys.stderr.write("mpidask: error: a rank did not close the session in time; the run is aborted\n")
                    self.world.abort(1)
                self._release()
                return
            if self.world.ended() is not None:
                return
            yield False

    def _release(self) -> None:
        """Give the communicator back, but keep one of all ranks for their common end."""
        if self.world.whole and EXIT_HOOK.world is None:
            EXIT_HOOK.world = self.world
        else:
            self.world.release()

    def _return(self) -> None:
        """Give back what is not MPI's."""
        if not (self.exit and self.world.whole):  # the process goes on
            self.world.watchdog.dismiss()
            self._before.give_back()

    # ----------------------------------------------------------------- closing
    def close(self) -> Awaitable[None] | None:
        """Close the cluster and release the other ranks; nothing happens the second time.

        Inside an event loop it returns an awaitable. With `exit` the script's end closes it.
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
        """Close the cluster, with the script's exit status if it is known."""
        wait(self._closing(status))

    def _closing(self, status: int | None) -> Steps[None]:
        if self._own is None or self._own.closed:
            return
        if self._alarm is not None:
            self._alarm.stop()
        with contextlib.suppress(ValueError):
            EXIT_HOOK.sessions.remove(self)
        shut_down = self.world.ended() is not None
        self._own.close(status)
        teardown.tidy(self.world, self._layout)
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


def _is_being_prepared() -> bool:
    """Whether multiprocessing is importing the main module in a process that it has started."""
    return bool(getattr(multiprocessing.current_process(), "_inheriting", False))


def _remember(error: BaseException | None) -> None:
    """Keep the exit status of what leaves a session in disorder, should nobody catch it."""
    if isinstance(error, SystemExit):
        EXIT_HOOK.failed = error.code if isinstance(error.code, int) else int(error.code is not None)
