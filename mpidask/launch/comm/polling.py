"""The steps of the protocol: a step yields while it waits, and is run asleep or in an event loop."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, Generic, Protocol, TypeVar

from mpidask.errors import MpidaskError

__all__ = [
    "GROWTH",
    "LONGEST_SLEEP",
    "Coming",
    "End",
    "Growing",
    "News",
    "Parts",
    "Running",
    "SoFar",
    "Steps",
    "WaitPolicy",
    "Wakeup",
    "wait",
    "wait_async",
]

T = TypeVar("T")

#: A protocol step: yields while it waits, each time whether it has come further since; returns its result.
Steps = Generator[bool, None, T]

_NEWS = 0.5  # s between two reports of what has come so far
_FIRST_SLEEP = 0.001  # s between two looks at a pending operation

#: The longest of these sleeps, and what they grow by: each is a tenth of the wait so far.
LONGEST_SLEEP, GROWTH = 0.05, 1.1


@dataclasses.dataclass(frozen=True)
class End:
    """The message that ends a run.

    status: the script's exit status, None if it is not known
    sender: rank that sent it
    """

    status: int | None
    sender: int


class Coming(Protocol):
    """A value that is not there yet: a future, or what looks like one."""

    def done(self) -> bool:
        """Whether it is there."""

    def result(self) -> Any:
        """Return it."""


class Growing(Coming, Protocol):
    """A value that is not there yet, of which a part may be."""

    def so_far(self) -> Any:
        """Return what is there; false for nothing."""


class Parts:
    """A Growing value: a future's, which says itself what is there so far."""

    def __init__(self, whole: Coming, so_far: Callable[[], Mapping[int, int]]) -> None:
        self._whole, self._so_far = whole, so_far

    def done(self) -> bool:
        """Whether all is there, or will not be."""
        return self._whole.done()

    def result(self) -> Any:
        """Return it, or the error that keeps some from coming."""
        return self._whole.result()

    def so_far(self) -> dict[int, int]:
        """Return it as it is now."""
        return dict(self._so_far())


@dataclasses.dataclass(frozen=True)
class SoFar:
    """A part of a rank's value."""

    value: Any


class News:
    """Tells when more of a Growing value is there than was told."""

    def __init__(self) -> None:
        self._told: Any = None
        self._next = 0.0

    def of(self, value: Any) -> SoFar | None:
        """Return what is there, None if there is nothing new or it is too soon."""
        if not hasattr(value, "so_far") or time.monotonic() < self._next:
            return None
        part = value.so_far()
        if not part or part == self._told:
            return None
        self._told, self._next = part, time.monotonic() + _NEWS
        return SoFar(part)


@dataclasses.dataclass(frozen=True)
class WaitPolicy:
    """How long rank 0 waits for the others.

    timeout:  s; the error then names the ranks that are missing
    hosts:    rank -> host name, for that message
    progress: called with what has been reported so far, rank -> value or SoFar, at every look
    enough:   whether that is enough to go on
    missing:  ranks to be named when it has taken too long; none: those that have not reported
    over:     what makes waiting pointless, None as long as there is nothing
    compact:  what is made of what was reported before it is sent to all
    """

    timeout: float
    hosts: Mapping[int, str] = dataclasses.field(default_factory=dict)
    progress: Callable[[Mapping[int, Any]], None] = lambda values: None
    enough: Callable[[Mapping[int, Any]], bool] = lambda values: False
    missing: Callable[[Mapping[int, Any]], set[int]] = lambda values: set()
    over: Callable[[], MpidaskError | None] = lambda: None
    compact: Callable[[dict[int, Any]], dict[int, Any]] = lambda values: values


class AsyncWakeup(Protocol):
    """What tells a wait in an event loop to look at once.

    pause:  s between two looks in spite of it
    growth: of the sleeps between two looks; where all that is waited for wakes, one may oversleep
    """

    pause: float
    growth: float

    async def wait_async(self, seconds: float) -> bool:
        """Sleep for so long, or until it is woken; return whether it was."""


class Wakeup(AsyncWakeup, Protocol):
    """What tells a rank that waits to look at once, whatever it waits in."""

    def wait(self, seconds: float) -> bool:
        """Sleep for so long, or until it is woken; return whether it was."""

    async def wait_async(self, seconds: float) -> bool:
        """Do the same while the event loop goes on."""


class _NoWakeup:
    pause, growth = LONGEST_SLEEP, GROWTH

    def wait(self, seconds: float) -> bool:
        time.sleep(seconds)
        return False

    async def wait_async(self, seconds: float) -> bool:
        import asyncio  # which is large, and not needed before MPI is up

        await asyncio.sleep(seconds)
        return False


class _Naps:
    """The sleeps of a patient wait: short at first and when something has moved, then long enough to cost nothing."""

    def __init__(self, wakeup: AsyncWakeup) -> None:
        self._growth, self._longest = wakeup.growth, wakeup.pause
        self._next = 0.0

    def after(self, *, moved: bool) -> float:
        """Return how long to sleep next, in s."""
        self._next = min(self._next * self._growth, self._longest) if self._next and not moved else _FIRST_SLEEP
        return self._next


class Running(Generic[T]):
    """Steps to iterate over; value: what they have returned at their end."""

    value: T

    def __init__(self, steps: Steps[T]) -> None:
        self._steps = steps

    def __iter__(self) -> Iterator[bool]:
        self.value = yield from self._steps


def wait(steps: Steps[T], wakeup: Wakeup | None = None) -> T:
    """Run a protocol step to its end, sleeping between looks.

    wakeup: woken when there is something to see; without it looks are frequent
    """
    wakeup = wakeup or _NoWakeup()
    running, naps, woken = Running(steps), _Naps(wakeup), False
    for moved in running:
        woken = wakeup.wait(naps.after(moved=woken or moved))
    return running.value


async def wait_async(steps: Steps[T], wakeup: AsyncWakeup | None = None) -> T:
    """Run a protocol step to its end while the event loop goes on; wakeup: as in `wait`."""
    wakeup = wakeup or _NoWakeup()
    running, naps, woken = Running(steps), _Naps(wakeup), False
    for moved in running:
        woken = await wakeup.wait_async(naps.after(moved=woken or moved))
    return running.value
