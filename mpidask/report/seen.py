"""What a recorder keeps in mind of workers and kinds of tasks that the scheduler may forget."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import islice
from typing import Any

from mpidask.compat.dask import seconds_computed

__all__ = ["Gone", "Kinds", "Seen"]


class Seen:
    """What is known of a worker.

    state: what the scheduler knows of it; another one if a worker comes back under the same address
    """

    def __init__(self, state: Any) -> None:
        self.state, self.name, self.limit = state, str(state.name), state.memory_limit or 0
        self.report: Mapping[str, Any] = {}
        self.peak = 0  # bytes of memory
        self.gil = 0.0
        self.running = 0.0  # s that its tasks had been computed for when it reported last
        self.executing: Mapping[Any, float] = {}  # the same, by task
        self.heard = self.noted = 0.0  # when it reported last, by Dask's clock, and when that was noted
        self.written: list[Any] = []

    @property
    def fullness(self) -> tuple[float, int]:
        """How much of its memory it has used at most: the part of its limit, and bytes."""
        return self.peak / self.limit if self.limit else 0.0, self.peak

    def unfinished(self, *, there: bool) -> float:
        """Return `running`, of tasks alone that have not ended since: those that have are counted by the scheduler.

        there: whether the scheduler still has the worker
        """
        if not there:
            return sum(seconds for task, seconds in self.executing.items() if not _has_been_computed(task))
        return sum(seconds for task, seconds in self.executing.items() if task.processing_on is self.state)


def _has_been_computed(task: Any) -> bool:
    """Whether there has been a result, which may be there no more."""
    return task.nbytes >= 0 and task.state in ("memory", "released", "forgotten")


class Gone:
    """What workers that are gone have come to, together."""

    def __init__(self) -> None:
        self.seconds, self.moved = Counter[str](), Counter[str]()
        self.lines: dict[str, str] = {}
        self.names: set[str] = set()
        self.gil = self.lost = 0.0
        self.fullest: Seen | None = None

    def add(self, seen: Seen) -> None:
        """Take note of one."""
        self.seconds.update(seen.report.get("seconds", {}))
        self.moved.update(seen.report.get("bytes", {}))
        self.lines.update(seen.report.get("lines", {}))
        self.names.add(seen.name)
        self.gil += seen.gil
        self.lost += seen.unfinished(there=False)
        seen.executing = {}
        if self.fullest is None or seen.fullness > self.fullest.fullness:
            self.fullest = seen


class Kinds:
    """For how long, and how often, tasks of each kind were computed.

    The scheduler's own sums are read; `Client.restart` makes it forget them.
    """

    def __init__(self) -> None:
        self._before: dict[str, tuple[float, int]] = {}  # up to the last restart
        self._prefixes: list[Any] = []  # which keep their sums
        self._first: Any = None

    def look(self, prefixes: dict[str, Any]) -> None:
        """Take note of those that are new since the last look."""
        first = next(iter(prefixes.values()), None)
        if first is not self._first:
            self._before = {name: (seconds, number) for seconds, number, name in self.sums()}
            self._prefixes, self._first = [], first
        self._prefixes += islice(reversed(prefixes.values()), len(prefixes) - len(self._prefixes))

    def sums(self) -> list[tuple[float, int, str]]:
        """Return s, number and name of each."""
        seconds_of_each = zip(seconds_computed(self._prefixes), self._prefixes, strict=True)
        found = [(seconds, prefix.state_counts["memory"], prefix.name) for seconds, prefix in seconds_of_each]
        if not self._before:
            return found
        left = dict(self._before)
        for index, (seconds, number, name) in enumerate(found):
            before = left.pop(name, (0.0, 0))
            found[index] = seconds + before[0], number + before[1], name
        return [*found, *((seconds, number, name) for name, (seconds, number) in left.items())]
