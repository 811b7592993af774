"""The rank that runs the user's script, from the meeting to the end."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
from typing import Any, NoReturn

from mpidask import config
from mpidask.errors import LostError, MpidaskError
from mpidask.launch import ending, program
from mpidask.launch.announce import Progress, print_banner, print_closing
from mpidask.launch.host import Beside
from mpidask.launch.layout import Layout, caught
from mpidask.launch.plans import scheduler_plan, workers_plan
from mpidask.launch.roles import Role
from mpidask.launch.world import World, wait

__all__ = ["be_client"]


def be_client(world: World, layout: Layout) -> NoReturn:
    """Run the script with the cluster around it, then end the run with its status."""
    address = _scheduler_address(world)
    ready = Ready(world, layout, address)
    wait(ready.together())
    client = _connect(ready.address)
    end = End(world, layout, ready, client)
    if ready.beside is not None:
        ready.beside.watch(end.servers_died)
    _restore_signals()
    before = threading.enumerate()
    status = program.run(ready.code, end.now)
    end.quieten()
    program.wind_down(before, config.seconds(layout.options.thread_grace))
    end.now(status)


def _restore_signals() -> None:
    """Have signals end the script as they would end it under plain python: MPI libraries have handlers of their own."""
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        if signal.getsignal(number) == signal.SIG_DFL:  # as it was at the start: nohup has it ignored
            signal.signal(number, signal.SIG_DFL)


def _scheduler_address(world: World) -> str:
    """Return the scheduler's address, "" if this rank hosts it."""
    if world.size == 1:
        return ""
    address = wait(world.share(None, 0))
    if isinstance(address, MpidaskError):
        raise address
    return str(address)


class Ready:
    """What this rank prepares before the script may start."""

    def __init__(self, world: World, layout: Layout, address: str) -> None:
        self._world, self._layout = world, layout
        self.address = address
        self.code: program.Code = lambda: compile("", "", "exec")
        self.beside: Beside | None = None
        self.dashboard: str | None = None

    def together(self) -> Any:
        """Protocol step: get ready, wait for all others; raises StartupError on all ranks."""
        watch = Progress(self._layout)
        prepared = caught(self._prepare)
        if self.beside is not None and not isinstance(prepared, MpidaskError):
            prepared = Up(self)
        try:
            yield from self._world.agree(prepared, watch.patience)
        except MpidaskError:
            self.close()
            raise
        finally:
            watch.done()
        if self._world.rank == 0:
            print_banner(self._layout, self.address, self.dashboard)
        yield from self._world.share(None, 0)

    def _prepare(self) -> int:
        if Role.WORKER in self._layout.role:
            self._start_beside()
        import distributed  # noqa: F401 - an import error is to be reported now

        if self._world.rank != 0:
            _close_stdin()
        self.code = program.load(self._layout.program)
        return 0

    def _start_beside(self) -> None:
        import dask.config

        self.beside = Beside(
            None if self.address else scheduler_plan(self._world, self._layout),
            workers_plan(self._world, self._layout, self.address),
            dashboard=self._layout.options.dashboard,
            config=dask.config.config,
        )
        # After the script's exit handlers, which may still compute, and before multiprocessing's, which
        # waits for its children for ever.
        atexit.register(self.close)

    def close(self) -> None:
        """End the servers beside the script."""
        if self.beside is not None:
            from mpidask.launch import servers

            servers.quieten()
            self.beside.close(2 * ending.CLOSE)


class Up:
    """The number of workers beside the script, once they are there."""

    def __init__(self, ready: Ready) -> None:
        self._ready = ready

    def done(self) -> bool:
        """Whether they are there, or will not come."""
        return self._ready.beside is not None and self._ready.beside.done()

    def result(self) -> int | BaseException:
        """Return their number, or the error that kept them from coming."""
        ready = self._ready
        assert ready.beside is not None
        started = ready.beside.result()
        if isinstance(started, BaseException):
            return started
        ready.address, ready.dashboard = started.address or ready.address, started.dashboard
        return started.workers


class End:
    """How the script's rank ends the run."""

    def __init__(self, world: World, layout: Layout, ready: Ready, client: Any) -> None:
        self._world, self._layout = world, layout
        self._ready, self._client = ready, client

    def now(self, status: int) -> NoReturn:
        """End the run with this exit status: clients, then servers, then the ranks."""
        for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
            with contextlib.suppress(ValueError):
                signal.signal(number, signal.SIG_IGN)
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        self._world.guardian.end_within(ending.KILL)
        self.quieten()
        wait(self._world.announce_end(status))
        self._ready.close()
        if self._world.rank == 0:
            print_closing(self._layout, status)
        ending.leave_in_order(self._world, self._layout, status)

    def servers_died(self, exitcode: int) -> None:
        """End the run if the scheduler was among the servers beside the script: it cannot go on."""
        where = f"the process with this rank's servers, on rank {self._world.rank} on {self._world.host}, ended"
        lost = LostError(f"{where} ({exitcode}); the run ends")
        if Role.SCHEDULER not in self._layout.role:
            sys.stderr.write(f"mpidask: warning: {where} ({exitcode}); the run goes on without its workers\n")
            return
        sys.stderr.write(lost.text())
        ending.tidy(self._world, self._layout)
        self._world.abort(lost.status)

    def quieten(self) -> None:
        """Say no more of connections that break, as they do when the script has shut the cluster down."""
        from mpidask.launch import servers

        servers.quieten()


def _connect(address: str) -> Any:
    """Have `Client()` and `.compute()` in the script find the cluster."""
    import dask.config
    from distributed import Client

    dask.config.set({"scheduler-address": address})
    return Client(address)  # type: ignore[no-untyped-call]  # Dask's


def _close_stdin() -> None:
    """Give the script an empty standard input: the launcher passes its own to rank 0 only, others may wait for ever."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
