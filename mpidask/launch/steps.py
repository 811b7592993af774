"""The protocol's words and steps: a step yields while it waits, and is run asleep or inside an event loop."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable, Generator, Mapping
from typing import Any, NoReturn, Protocol, TypeVar

from mpidask.errors import MpidaskError

__all__ = ["Coming", "End", "Patience", "Steps", "sleeps", "wait", "wait_async"]

T = TypeVar("T")

#: A protocol step: yields while it waits, returns its result.
Steps = Generator[None, None, T]

_FIRST_SLEEP, _LONGEST_SLEEP = 0.001, 0.05  # s between two looks at a pending operation


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


@dataclasses.dataclass(frozen=True)
class Patience:
    """How long rank 0 waits for the others.

    timeout:  s; the error then names the ranks that are missing
    hosts:    rank -> host name, for that message
    progress: called with what has been reported so far, rank -> value, at every look
    enough:   whether that is enough to go on
    over:     what makes waiting pointless, None as long as there is nothing
    compact:  what is made of what was reported before it is sent to all
    """

    timeout: float
    hosts: Mapping[int, str] = dataclasses.field(default_factory=dict)
    progress: Callable[[Mapping[int, Any]], None] = lambda values: None
    enough: Callable[[Mapping[int, Any]], bool] = lambda values: False
    over: Callable[[], MpidaskError | None] = lambda: None
    compact: Callable[[dict[int, Any]], dict[int, Any]] = lambda values: values


def sleeps() -> Generator[float, None, NoReturn]:
    """Yield the sleeps of a patient wait: short at first, then long enough to cost nothing."""
    sleep = _FIRST_SLEEP
    while True:
        yield sleep
        sleep = min(sleep * 1.5, _LONGEST_SLEEP)


def wait(steps: Steps[T]) -> T:
    """Run a protocol step to its end, sleeping between looks."""
    for sleep in sleeps():
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]  # PEP 380's value has no type
        time.sleep(sleep)
    raise AssertionError("unreachable")


async def wait_async(steps: Steps[T]) -> T:
    """Run a protocol step to its end while the event loop goes on."""
    for sleep in sleeps():
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]  # PEP 380's value has no type
        await asyncio.sleep(sleep)
    raise AssertionError("unreachable")
