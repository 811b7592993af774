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
from collections.abc import Callable, Iterable
from typing import Any

import dask.config
import distributed.metrics
from dask.utils import parse_timedelta
from distributed import Scheduler, Status, Worker, WorkerPlugin
from distributed.core import Server
from tornado.ioloop import PeriodicCallback

from mpidask import configuration
from mpidask.compat import dask as compat
from mpidask.lost_connections import RestartingNanny

__all__ = ["Rest", "RestingNanny", "RestingWorker", "plugin", "prepare", "rest_scheduler"]

_ROUND = 2.0  # s between two looks
_LINGER = 3.0  # s without work after which a server rests
#: Part of a core that a worker's process uses which is at work, whatever Dask knows of it: when it rests, and when not.
_AT_WORK = {True: 0.1, False: 0.5}

#: What a server does periodically, but no more often than once a round when it rests; all else goes on as it is.
_RARELY = (
    "heartbeat",  # as often as Dask has it for a hundred workers
    "idle-timeout",
    "find-missing",
    "memory_monitor",
    "monitor",
    "no-workers-timeout",
    "profile-cycle",
    "stealing",
    "tick",
)
_NEVER = ("profile", "ticks")  # the first looks at tasks that run, the second counts ticks
_LOOK, _OPERATION = "mpidask-rest", "mpidask_rest"
_INTERVAL, _CYCLE = "distributed.worker.profile.interval", "distributed.worker.profile.cycle"

#: What we have put another value in place of: key -> Dask's.
_replaced: dict[str, str] = {}


def prepare() -> None:
    """Have the servers that are made in this process, or by its nannies, watch their event loop less often.

    Dask's thread for it looks at the clock at the interval at which tasks are profiled, but takes one sample per cycle.
    Workers with the plugin go on profiling tasks at Dask's interval. Whatever the user has configured stays.
    """
    if configuration.is_standard(_INTERVAL):
        _replaced[_INTERVAL] = dask.config.get(_INTERVAL)
        dask.config.set({_INTERVAL: dask.config.get(_CYCLE)})


class Rest:
    """Lets a server rest while it has nothing to do.

    resting: whether it does now
    """

    def __init__(self, server: Server, is_busy: Callable[[], Any], on_change: Callable[[], Any] = lambda: None) -> None:
        """Prepare it; it begins when the server starts its callbacks.

        is_busy:   whether the server has work
        on_change: called when it has begun or ended to rest
        """
        self._server, self._is_busy, self._on_change = server, is_busy, on_change
        self._callbacks: dict[str, Any] = server.periodic_callbacks
        self.resting = False
        self._touched = time.monotonic()
        self._callbacks[_LOOK] = PeriodicCallback(self._look, _ROUND * 1000)

    def touch(self) -> None:
        """Take note of work: a server that rested is awake when this returns."""
        self._touched = time.monotonic()
        if self.resting and self._callbacks[_LOOK].is_running():  # not any more when the server closes
            self._wake()

    def _look(self) -> None:
        if self._is_busy():
            self.touch()
        elif not self.resting and time.monotonic() - self._touched > _LINGER:
            self._rest()

    def _rest(self) -> None:
        """Put rarer callbacks in the place of those that there are.

        All begin now, so that all are called together: what an idle process costs is above all how often it wakes.
        """
        self.resting = True
        for name in self._present(_NEVER):
            self._callbacks[name].stop()
        for name in self._present(_RARELY):
            self._replace(name, _Rarely(self._callbacks[name]))
        self._callbacks["tick"].callback = self._tick
        self._replace(_LOOK, PeriodicCallback(self._look, _ROUND * 1000))
        self._on_change()

    def _wake(self) -> None:
        self.resting = False
        for name in self._present(_RARELY):
            often = self._callbacks[name].often
            self._replace(name, PeriodicCallback(often.callback, often.callback_time))
        self._forget_ticks()
        for name in self._present(_NEVER):
            self._callbacks[name].start()
        self._on_change()

    def _present(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if name in self._callbacks]

    def _replace(self, name: str, new: PeriodicCallback) -> None:
        """Start another callback in the place of one that is there.

        Another object: to start one anew that is under way would have it called twice as often from then on.
        """
        self._callbacks[name].stop()
        self._callbacks[name] = new
        new.start()

    def _tick(self) -> None:
        """Measure how late the event loop is, as Dask's tick does, which expects to be called often."""
        compat.tick_no_later_than(self._server, _ROUND, distributed.metrics.time())
        self._callbacks["tick"].often.callback()

    def _forget_ticks(self) -> None:
        """Have the time between two ticks be that of a server that is awake: on the dashboard, and where it warns."""
        compat.measure_ticks_anew(self._server, distributed.metrics.time())


class _Rarely(PeriodicCallback):
    """A callback in the place of another, called no more often than once a round.

    often: the other; Dask sets its time between two calls here, too
    """

    def __init__(self, often: PeriodicCallback) -> None:
        self.often = often
        super().__init__(often.callback, often.callback_time)

    @property
    def callback_time(self) -> float:
        """Time between two calls in ms."""
        return max(self.often.callback_time, _ROUND * 1000)

    @callback_time.setter
    def callback_time(self, value: float) -> None:
        self.often.callback_time = value


def rest_scheduler(scheduler: Scheduler) -> None:
    """Let a scheduler that runs rest while no task is being computed."""
    Rest(scheduler, lambda: scheduler.idle_since is None)
    scheduler.start_periodic_callbacks()  # type: ignore[no-untyped-call]  # Dask's


class RestingNanny(RestartingNanny):
    """Dask's nanny, which rests while its worker does."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._worker_rests = False
        self.periodic_callbacks.pop("monitor")  # of what a nanny itself uses, which nobody asks for
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
        return self._used - before > _AT_WORK[self._rest.resting] * _ROUND

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
