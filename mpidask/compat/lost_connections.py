"""Workers that come back when their connection to the scheduler breaks.

Dask's worker closes itself then, and its nanny with it: it is gone for good, although nothing is wrong with it.
Tested with distributed 2025.1 to 2026.8.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import weakref
from typing import Any

from distributed import Nanny, Scheduler, Status, Worker
from tornado.ioloop import PeriodicCallback

from mpidask.compat import servers

__all__ = ["RestartingNanny", "forgive_a_stop", "has_lost_connection", "is_needed", "note_reason"]

#: Dask's words for why a worker closes whose connection has broken, as the worker or the scheduler has noticed.
_BROKEN = ("worker-handle-scheduler-connection-broken", "worker-heartbeat-missing")

_SOON = 3.0  # s for a scheduler to answer; one that does not is gone, and so is what it needs workers for
_ANSWER = 20.0  # s more where somebody takes connections: it is busy

_STOPPED = 5.0  # s by which a look may be late on a busy machine

_CLOSING = (Status.closing, Status.closing_gracefully, Status.closed)

#: Worker in this process -> why it closes, or has closed.
_closed_for: weakref.WeakKeyDictionary[Worker, str] = weakref.WeakKeyDictionary()


def note_reason(worker: Worker) -> None:
    """Have it known why a worker of this process closes."""

    def note(reason: str) -> None:
        if worker.status not in _CLOSING:  # else it was told to, by a handler that has Dask's own method
            _closed_for.setdefault(worker, reason)

    servers.note_close(worker, note)


def has_lost_connection(worker: Worker) -> bool:
    """Whether a worker has closed because its connection to the scheduler had broken."""
    return _closed_for.get(worker) in _BROKEN


async def is_needed(scheduler: Any, worker: str) -> bool:
    """Whether a scheduler answers that has not sent a worker away which closes: retired ones do not come back.

    scheduler: a connection to it
    worker:    the worker's address
    """
    events = await _events(scheduler, worker, _SOON)
    if events is None and await _listens(scheduler.address):
        events = await _events(scheduler, worker, _ANSWER)
    if events is None:
        return False
    removed = [event for _, event in events if isinstance(event, dict) and event.get("action") == "remove-worker"]
    return not (removed and removed[-1].get("expected"))


async def _events(scheduler: Any, worker: str, seconds: float) -> Any:
    """Return what a scheduler knows of a worker; None if it does not answer: Dask goes on to ask one that is gone."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(seconds):
            return await scheduler.events(topic=worker)
    return None


async def _listens(address: str) -> bool:
    host, _, port = address.rpartition("://")[2].rpartition(":")
    with contextlib.suppress(OSError, ValueError, TimeoutError):
        async with asyncio.timeout(_SOON):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        writer.close()
        return True
    return False


def forgive_a_stop(scheduler: Scheduler) -> None:
    """Have a scheduler that runs miss no workers because it was stopped itself, with its job: their words wait.

    Upstream: no issue.
    """
    checks = scheduler.periodic_callbacks.get("worker-ttl")
    if checks is None:
        return
    interval, last = checks.callback_time / 1000, time.monotonic()

    async def check() -> None:
        nonlocal last
        late, last = time.monotonic() - last - interval, time.monotonic()
        if late < _STOPPED:
            await scheduler.check_worker_ttl()

    checks.stop()
    scheduler.periodic_callbacks["worker-ttl"] = PeriodicCallback(check, checks.callback_time)
    scheduler.periodic_callbacks["worker-ttl"].start()


class RestartingNanny(Nanny):
    """Dask's nanny, which starts its worker again if the scheduler is there but the connection to it has broken.

    disconnected: whether the worker's process ends, or has ended last, for that reason

    Upstream: https://github.com/dask/distributed/issues/6391.
    """

    disconnected = False

    async def instantiate(self) -> Status:
        """Start the worker's process."""
        self.disconnected = False
        return await super().instantiate()

    async def close_gracefully(self, reason: str = "nanny-close-gracefully") -> None:  # type: ignore[override]  # Dask awaits what its handlers return
        """Take note that the worker closes: for good, or to be started again."""
        if reason in _BROKEN and await is_needed(self.scheduler, str(self.worker_address)):
            self.disconnected = True
            self.on_disconnection()
        else:
            super().close_gracefully(reason=reason)

    def on_disconnection(self) -> None:
        """Do what is to be done when the connection has broken; nothing here."""
