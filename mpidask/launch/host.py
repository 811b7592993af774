"""Servers in a process of their own beside the script.

Where the script's rank has to host workers (or, alone, the scheduler as well) they are not put into its
process: the script may hold the interpreter lock, and a nanny's child would run the script again.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import multiprocessing
import multiprocessing.connection
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from mpidask.credentials import Contact
from mpidask.errors import MpidaskError, StartupError
from mpidask.launch import diversion
from mpidask.launch.program import hidden_main
from mpidask.launch.steps import Steps

__all__ = ["Beside"]

_CLOSE = 1.5  # s for workers to close


@dataclasses.dataclass(frozen=True)
class _Orders:
    """What the process is to serve: plans of `servers`, and Dask's configuration.

    log: file for what servers and tasks print, None for where the rank prints

    Workers take the scheduler started here, if there is one.
    """

    scheduler: Any
    workers: Any
    config: dict[str, Any]
    log: str | None


@dataclasses.dataclass(frozen=True)
class Started:
    """What came up."""

    dashboard: str | None
    workers: int


class Beside:
    """A process with servers, as the script's rank sees it."""

    def __init__(self, scheduler: Any, workers: Any, *, config: dict[str, Any], log: str | None = None) -> None:
        context = multiprocessing.get_context("spawn")  # exec: never the fork of an MPI process
        self._closing = False
        self._ours, theirs = context.Pipe()
        orders = _Orders(scheduler, workers, config, log)
        self._process = context.Process(target=_serve, args=(orders, theirs), name="mpidask servers")
        with hidden_main():
            self._process.start()
        theirs.close()

    def scheduler(self) -> Steps[Contact | BaseException]:
        """Wait for the scheduler, or the error that kept it from coming up; asked before `result`."""
        while not self.done():
            yield
        return self._receive()  # type: ignore[no-any-return]  # what _serve_async sends first

    def done(self) -> bool:
        """Whether the next answer is there: all is up, or will not come up."""
        return self._ours.poll() or not self._process.is_alive()

    def result(self) -> Started | BaseException:
        """Return what came up, or the error that kept it from coming up."""
        return self._receive()  # type: ignore[no-any-return]  # what _serve_async sends last

    def _receive(self) -> Any:
        try:
            return self._ours.recv()
        except EOFError:
            return StartupError("the process with the servers ended", "see its message above")

    def watch(self, on_death: Callable[[int], None]) -> None:
        """Have a function called with the exit code, in a thread, should the process end before it is closed."""

        def wait() -> None:
            multiprocessing.connection.wait([self._process.sentinel])
            if not self._closing:
                on_death(self._process.exitcode or 0)

        threading.Thread(target=wait, name="mpidask servers' watch", daemon=True).start()

    def close(self, timeout: float) -> None:
        """Have the servers closed, kill their process past the timeout (s)."""
        self._closing = True
        self._ours.close()
        self._process.join(timeout)
        if self._process.is_alive():
            self._process.kill()
            self._process.join(1)


def _serve(orders: _Orders, connection: Connection) -> None:
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    if orders.log is not None:
        diversion.divert(orders.log, warns=True)
    import dask.config

    dask.config.update(dask.config.config, orders.config, priority="new")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve_async(orders, connection))


async def _serve_async(orders: _Orders, connection: Connection) -> None:
    from mpidask.launch import servers

    scheduler, dashboard, pages, contact = None, None, None, None
    workers: list[Any] = []
    try:
        if orders.scheduler is not None:
            scheduler = await servers.start_scheduler(orders.scheduler)
            contact = servers.contact(scheduler, orders.scheduler)
            connection.send(contact)
        if orders.workers is not None:
            plan = dataclasses.replace(orders.workers, scheduler=contact or orders.workers.scheduler)
            workers = await servers.start_workers(plan)
        if scheduler is not None and orders.scheduler.dashboard:
            dashboard = servers.dashboard_link(scheduler, orders.scheduler)
            pages = asyncio.ensure_future(servers.start_dashboard(scheduler, orders.scheduler))
        connection.send(Started(dashboard, len(workers)))
    except MpidaskError as error:
        connection.send(error)
    except Exception as error:  # noqa: BLE001 - reported by the rank, with its name
        connection.send(StartupError(f"{type(error).__name__}: {error}"))
    await _until_closed(connection)
    if pages is not None:
        pages.cancel()
    await servers.close_all(workers, scheduler, _CLOSE)
    sys.stdout.flush()


async def _until_closed(connection: Connection) -> None:
    """Return when the script's rank has closed its end, or is gone."""
    loop, closed = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(connection.fileno(), closed.set)
    await closed.wait()
    loop.remove_reader(connection.fileno())
