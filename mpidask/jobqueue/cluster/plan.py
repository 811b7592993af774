"""`Plan`: which jobs a cluster wants, and which of those that have ended are to be replaced (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["Plan", "Planned"]

#: A planned job, as Dask specifies it: class and options, suffixes of its workers (group); and what is ours: its
#: number, its group (of), and in how many jobs' place it is (restarts).
Planned = dict[str, Any]


class Plan:
    """What is wanted of each group of jobs; None is the group of the cluster's own keywords.

    new:     returns name and specification of a further job of a group
    jobs:    name -> specification; the oldest first
    missing: those that have ended and are to be replaced
    """

    def __init__(self, new: Callable[[str | None], dict[str, Planned]]) -> None:
        self._new = new
        self.jobs: dict[str, Planned] = {}
        self.missing: list[Planned] = []

    def names(self, group: str | None) -> list[str]:
        """Return the names of a group's jobs, the oldest first."""
        return [name for name, each in self.jobs.copy().items() if each.get("of") == group]

    def lost(self, group: str | None) -> int:
        """Return how many jobs of a group are to be replaced."""
        return sum(each.get("of") == group for each in self.missing)

    def resize(self, wanted: int, group: str | None, value: Callable[[str], int]) -> None:
        """Want so many jobs of a group, and replace none that have ended.

        value: returns how little a job can be spared; of those that are alike the youngest go first
        """
        self.missing = [each for each in self.missing if each.get("of") != group]
        names = self.names(group)
        youngest = names[::-1]
        for name in sorted(youngest, key=value)[: max(0, len(names) - wanted)]:
            self.jobs.pop(name, None)  # the event loop's thread may have lost it meanwhile
        self.add(wanted - len(names), group)

    def add(self, count: int, group: str | None = None) -> None:
        """Want so many more jobs of a group."""
        for _ in range(count):
            self.jobs.update(self._new(group))

    def drop(self, names: Iterable[str]) -> None:
        """Want these jobs no more."""
        for name in names:
            self.jobs.pop(name, None)

    def lose(self, name: str) -> Planned | None:
        """Take note that a job has ended; return what it was, None if it was not wanted any more."""
        return self.jobs.pop(name, None)

    def want_again(self, lost: Planned, restarts: int) -> None:
        """Have a job replaced, by one in whose place so many have been before."""
        self.missing.append({**lost, "restarts": restarts})

    def replace(self, most: int | None = None) -> dict[str, Planned]:
        """Want jobs in place of those that have ended; return them.

        most: how many at most; None: all
        """
        lost, self.missing = self.missing[:most], self.missing[len(self.missing[:most]) :]
        planned: dict[str, Planned] = {}
        for each in lost:
            ((name, fresh),) = self._new(each.get("of")).items()
            planned[name] = {**fresh, "restarts": each["restarts"]}
        self.jobs.update(planned)
        return planned

    def put_back(self, planned: dict[str, Planned]) -> None:
        """Have jobs replaced later, whose replacements could not be submitted."""
        self.drop(planned)
        self.missing += planned.values()

    def give_up(self) -> None:
        """Replace nothing any more."""
        self.missing.clear()
