"""What Dask's servers do when there is nothing to do, less often.

Every server looks after itself many times a second, whether it has work or not: a worker some 160 times, its nanny 60
times, which on a slow machine is 2 % of a core each. Here a server that has had nothing to do for a few seconds looks
after itself every two seconds, all at once, and as before from the moment when there is work.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable
from typing import Any

import dask.config
from dask.utils import parse_timedelta
from distributed import Scheduler, Status, Worker, WorkerPlugin

from mpidask import configuration
from mpidask.compat.lost_connections import RestartingNanny
from mpidask.compat.rest import ROUND, Rest
from mpidask.compat.setting import optimized

__all__ = ["RestingNanny", "RestingWorker", "plugin", "prepare", "rest_scheduler"]

#: Part of a core that a worker's process uses which is at work, whatever Dask knows of it: when it rests, and when not.
_AT_WORK = {True: 0.1, False: 0.5}

_OPERATION = "mpidask_rest"
_INTERVAL, _CYCLE = "distributed.worker.profile.interval", "distributed.worker.profile.cycle"

#: What we have put another value in place of: key -> Dask's.
_replaced: dict[str, str] = {}


def prepare() -> None:
    """Have the servers that are made in this process, or by its nannies, watch their event loop less often.

    Dask's thread for it looks at the clock at the interval at which tasks are profiled, but takes one sample per cycle.
    Workers with the plugin go on profiling tasks at Dask's interval. Whatever the user has configured stays.
    """
    if optimized() and configuration.is_standard(_INTERVAL):
        _replaced[_INTERVAL] = dask.config.get(_INTERVAL)
        dask.config.set({_INTERVAL: dask.config.get(_CYCLE)})


def rest_scheduler(scheduler: Scheduler) -> None:
    """Let a scheduler that runs rest while no task is being computed."""
    Rest(scheduler, lambda: scheduler.idle_since is None)
    scheduler.start_periodic_callbacks()  # type: ignore[no-untyped-call]  # Dask's


class RestingNanny(RestartingNanny):
    """Dask's nanny, which rests while its worker does."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._worker_rests = False
        if optimized():
            self.periodic_callbacks.pop("monitor", None)  # of what a nanny itself uses, which nobody asks for
        self._rest = Rest(self, lambda: not self._worker_rests)
        self.handlers[_OPERATION] = self._hear

    async def instantiate(self) -> Status:
        """Start the worker's process."""
        self._hear(resting=False)
        return await super().instantiate()

    def _hear(self, *, resting: bool) -> None:
        """Take note of whether the worker rests."""
        self._worker_rests = resting
        if not resting:
            self._rest.touch()


class RestingWorker(WorkerPlugin):
    """Lets a worker rest while it has no task.

    profile: how often tasks are profiled, None for as configured
    nanny:   whether its nanny is a RestingNanny
    """

    name = "mpidask-rest"

    def __init__(self, profile: str | None, *, nanny: bool) -> None:
        self._profile, self._tells = profile, nanny

    def setup(self, worker: Worker) -> None:
        """Begin, when the worker does."""
        self._worker, self._telling, self._used = worker, asyncio.Lock(), time.process_time()
        if self._profile is not None and (profile := worker.periodic_callbacks.get("profile")) is not None:
            profile.callback_time = parse_timedelta(self._profile) * 1000
        self._rest = Rest(worker, self._is_busy, self._tell)
        for operation, handler in worker.handlers.items():
            worker.handlers[operation] = _touching(handler, self._rest.touch)

    def transition(self, key: Any, start: Any, finish: Any, **_: Any) -> None:
        """Take note of a task that goes on."""
        self._rest.touch()

    def _is_busy(self) -> bool:
        worker, state = self._worker, self._worker.state
        tasks = (state.all_running_tasks, state.ready, state.constrained, state.in_flight_tasks)
        moving = state.transfer_incoming_count or worker.transfer_outgoing_count
        known = moving or worker.active_threads or worker.status is Status.paused or any(map(len, tasks))
        return self._uses_cpu() or bool(known)

    def _uses_cpu(self) -> bool:
        """Whether the process has been at work since the last look: tasks leave threads."""
        before, self._used = self._used, time.process_time()
        return self._used - before > _AT_WORK[self._rest.resting] * ROUND

    def _tell(self) -> None:
        if self._tells and self._worker.nanny:
            self._worker.loop.add_callback(self._tell_nanny)

    async def _tell_nanny(self) -> None:
        """Tell the nanny what is so now; one after the other, so that the last word is the last state."""
        async with self._telling:
            with contextlib.suppress(OSError, RuntimeError):  # the one is gone, or the other closing
                address: Any = self._worker.nanny  # a string, whatever Dask says
                nanny: Any = self._worker.rpc(address)
                await getattr(nanny, _OPERATION)(resting=self._rest.resting)


def _touching(handler: Callable[..., Any], touch: Callable[[], None]) -> Callable[..., Any]:
    """Return a handler that takes note of being asked: functions and actors' methods are no tasks."""

    @functools.wraps(handler)  # Dask looks at the signature
    def touching(*arguments: Any, **keywords: Any) -> Any:
        touch()
        return handler(*arguments, **keywords)

    return touching


def plugin(*, nanny: bool) -> RestingWorker:
    """Return what lets a worker rest, for `Worker(plugins=[...])`.

    nanny: whether it has a RestingNanny
    """
    return RestingWorker(_replaced.get(_INTERVAL), nanny=nanny)
