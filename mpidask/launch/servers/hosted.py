"""The servers of one rank, wherever they are hosted: in the rank itself, or in the agent beside it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from typing import Any

from distributed import Nanny, Scheduler, Worker
from distributed.core import Server

from mpidask.launch.servers import log_filters, port_choice, reconnecting, server_start
from mpidask.launch.servers.plugins import registration
from mpidask.launch.servers.plugins.worker_exits import Death, Postmortem
from mpidask.launch.servers.specs import Listening, RankSpec
from mpidask.report.recorder import Recorder
from mpidask.security.credentials import Contact

__all__ = ["HostedServers", "close_all"]

_CLOSE = 1.5  # s for a worker to close by itself; a task that still runs then is given up


class HostedServers:
    """The scheduler, workers, or both."""

    def __init__(self, spec: RankSpec, on_hopeless: Callable[[], None]) -> None:
        """Prepare them.

        on_hopeless: called when all workers of the run have been given up
        """
        self._spec, self._on_hopeless = spec, on_hopeless
        self._scheduler: Scheduler | None = None
        self._workers: list[Server] = []
        self._kept: asyncio.Future[None] | None = None  # watches over them
        self._recorder: Recorder | None = None

    async def start_scheduler(self) -> Listening:
        """Return where it is when it listens; raises StartupError."""
        spec = self._spec.scheduler
        assert spec is not None
        self._scheduler = await server_start.start_scheduler(spec, self._on_hopeless)
        if spec.report is not None:
            path, header = spec.report
            self._recorder = Recorder(path, {**header, "versions": _versions()}, _deaths(self._scheduler))
            self._recorder.start(self._scheduler)
        contact = server_start.contact(self._scheduler, spec)
        return Listening(contact, server_start.dashboard_link(self._scheduler, spec))

    async def start_workers(self, scheduler: Contact, on_up: Callable[[int], None]) -> None:
        """Return when they are up; raises StartupError.

        on_up: called with the rank of each that is up
        """
        if self._spec.workers is None:
            return
        spec = dataclasses.replace(self._spec.workers, scheduler=scheduler)
        with port_choice.explained(spec):
            self._workers = await server_start.start_workers(spec, on_up)
        self._kept = asyncio.ensure_future(reconnecting.keep_workers(spec, self._workers))

    def give_up(self, names: Sequence[str]) -> None:
        """Have the scheduler know that these workers do not come back: the run ends if they were the last."""
        if (postmortem := self._postmortem()) is not None:
            postmortem.give_up(names)

    def _postmortem(self) -> Postmortem | None:
        found = self._scheduler.plugins.get(Postmortem.name) if self._scheduler is not None else None
        return found if isinstance(found, Postmortem) else None

    def is_shut_down(self) -> bool:
        """Whether a client has shut the scheduler down."""
        return self._scheduler is not None and self._scheduler.status.name in ("closing", "closed")

    async def finished(self) -> bool:
        """Return when they have ended by themselves, and whether for want of work."""
        if self._scheduler is not None:
            await self._scheduler.finished()  # type: ignore[no-untyped-call]  # Dask's
            return server_start.idled_out(self._scheduler)
        if self._kept is not None:
            await self._kept
        return False

    async def close(self) -> None:
        """Close all; never raises."""
        if (postmortem := self._postmortem()) is not None:
            await postmortem.settle()
        if self._recorder is not None:
            self._recorder.close()
        if self._kept is not None:
            self._kept.cancel()
            await asyncio.wait([self._kept], timeout=_CLOSE)
        await close_all(self._workers, self._scheduler, _CLOSE)


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{each: metadata.version(each) for each in ("dask", "distributed")}}


def _deaths(scheduler: Scheduler) -> Callable[[], Mapping[str, Death]]:
    """Return what tells which workers of a scheduler have died."""
    postmortem = scheduler.plugins.get(Postmortem.name)
    return lambda: postmortem.deaths if isinstance(postmortem, Postmortem) else {}


async def close_all(servers: Sequence[Server], scheduler: Scheduler | None, timeout: float) -> None:
    """Close workers, then the scheduler when no worker is left or the time is over; never raises.

    timeout: s for the workers; a task that still runs then is given up
    """
    log_filters.silence()
    if scheduler is not None:
        registration.let_go(scheduler)
    closing = [asyncio.ensure_future(_close(server, timeout)) for server in servers]
    if closing:
        await asyncio.wait(closing, timeout=2 * timeout)
    if scheduler is not None:
        await _until_empty(scheduler, timeout)
        with contextlib.suppress(Exception):
            await asyncio.wait_for(scheduler.close(), timeout)


async def _close(server: Server, timeout: float) -> None:
    how: dict[str, Any] = {"timeout": timeout} if isinstance(server, Nanny | Worker) else {}
    if isinstance(server, Worker):
        how |= {"executor_wait": False, "nanny": False}
    with contextlib.suppress(Exception):
        await asyncio.wait_for(server.close(**how), 2 * timeout)


async def _until_empty(scheduler: Scheduler, timeout: float) -> None:
    deadline = time.monotonic() + 2 * timeout
    while scheduler.workers and time.monotonic() < deadline:  # noqa: ASYNC110 - Dask has no event for it
        await asyncio.sleep(0.01)
