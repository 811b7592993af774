"""Lets Dask's servers do less often what they do when there is nothing to do.

Every server calls its `periodic_callbacks` many times a second, whether it has work or not. Dask has no way to call
them less often: they are stopped and started, and others put in their places, under their public names. Tested with
distributed 2025.1 to 2026.8. Where a name is gone, that callback goes on as it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from distributed.core import Server
from tornado.ioloop import PeriodicCallback

from mpidask.compat.missing import tolerated
from mpidask.compat.setting import optimized

__all__ = ["ROUND", "Rest"]

ROUND = 2.0  # s between two looks
_LINGER = 3.0  # s without work after which a server rests

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
)
_NEVER = ("profile", "tick", "ticks")  # the first looks at tasks that run, the others at the event loop
_LOOK = "mpidask-rest"


class Rest:
    """Lets a server rest while it has nothing to do.

    resting: whether it does now

    Upstream: https://github.com/dask/distributed/issues/5000.
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
        if optimized():
            self._callbacks[_LOOK] = PeriodicCallback(self._look, ROUND * 1000)

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
        self._replace(_LOOK, PeriodicCallback(self._look, ROUND * 1000))
        self._on_change()

    def _wake(self) -> None:
        self.resting = False
        for name in self._present(_RARELY):
            often = self._callbacks[name].often
            self._replace(name, PeriodicCallback(often.callback, often.callback_time))
        self._measure_ticks_anew()
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

    def _measure_ticks_anew(self) -> None:
        """Start what was stopped, and have Dask not take the rest for the time between two ticks."""
        with tolerated("the average time between ticks leaves out the rest"):
            count = self._callbacks["ticks"].callback
            count()  # those until the rest
            count()  # those since: none
        self._server.start_periodic_callbacks()  # type: ignore[no-untyped-call]  # Dask's; the next tick counts from now


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
        return max(self.often.callback_time, ROUND * 1000)

    @callback_time.setter
    def callback_time(self, value: float) -> None:
        self.often.callback_time = value
