"""What the page "Ranks" and `mpidask top` show: one row per worker, and sums over all of them (pure)."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from dask.utils import format_bytes

__all__ = ["SOURCE", "Row", "Source", "add_up", "numbers", "summary", "tasks_in_words"]

#: Name of the scheduler plugin that knows the rows: a `Source`.
SOURCE = "mpidask-ranks"

#: States of Dask's tasks that are reported -> their words.
_TASKS = {
    "processing": "processing",
    "queued": "queued",
    "waiting": "waiting",
    "no-worker": "without a worker that can run them",
    "memory": "in memory",
    "erred": "failed",
}


@dataclasses.dataclass(frozen=True)
class Row:
    """One worker, or a rank without any. None is for what is not known.

    place:   number of the rank, or id of the job, "" for a worker from elsewhere
    role:    in words
    worker:  its name, "" for a rank without workers
    state:   of the worker: running, paused, closing, starting, dead (about to be started again), gone;
             or of its job: pending, held, failed
    pid:     of the worker's process
    cpu:     percent of one core
    memory, memory_limit: bytes; no limit: None
    running, queued: tasks that the worker computes, and that wait there
    idle:    share of its threads' time without a task, since the worker has started
    spill:   bytes on disk
    uptime:  s since the worker has started
    restarts: how often the worker's process died
    message: the last one about it, "" for none
    """

    place: str
    node: str
    role: str
    worker: str
    state: str
    pid: int | None = None
    threads: int | None = None
    cpu: float | None = None
    memory: int | None = None
    memory_limit: int | None = None
    running: int | None = None
    queued: int | None = None
    idle: float | None = None
    spill: int | None = None
    uptime: float | None = None
    restarts: int = 0
    message: str = ""


class Source(Protocol):
    """The scheduler plugin that knows the rows."""

    @property
    def heading(self) -> str:
        """What a place is: "rank" or "job"."""

    def rows(self) -> Sequence[Row]:
        """Return the rows in the order of their places; called once a second for each page that is open."""


def numbers(rows: Iterable[Row], place: str, tasks: Mapping[str, int]) -> dict[str, Any]:
    """Return all that is shown, as values for JSON.

    place: what a place is: "rank" or "job"
    tasks: Dask's states of tasks -> how many are in it
    """
    rows = list(rows)
    return {
        "place": place,
        "summary": summary(rows, place),
        "tasks": {state: tasks.get(state, 0) for state in _TASKS},
        "task_summary": tasks_in_words(tasks),
        "rows": [vars(row) for row in rows],
    }


def add_up(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return the sum of several counts of tasks by their states."""
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(total)


def tasks_in_words(tasks: Mapping[str, int]) -> str:
    """Return how many tasks are in which state, such as "4 processing, 12 waiting"."""
    counted = [f"{tasks[state]} {words}" for state, words in _TASKS.items() if tasks.get(state)]
    return ", ".join(counted) or "none"


def _bytes(size: int | None) -> str:
    return "" if size is None else format_bytes(size)


def summary(rows: Sequence[Row], place: str = "rank") -> str:
    """Return the line above the table.

    place: what a place is: "rank" or "job"
    """
    workers = [row for row in rows if row.worker]
    places, nodes = {row.place for row in rows if row.place}, {row.node for row in rows if row.node}
    parts = [f"{_count(len(places), place)} on {_count(len(nodes), 'node')}", _workers(workers)]
    used, spilled = (sum(getattr(row, name) or 0 for row in workers) for name in ("memory", "spill"))
    parts += [f"{_bytes(used)} in use by workers"] if used else []
    parts += [f"{_bytes(spilled)} spilled"] if spilled else []
    restarts = sum(row.restarts for row in workers)
    parts += [_count(restarts, "restart")] if restarts else []
    return " · ".join(parts)


def _workers(workers: Sequence[Row]) -> str:
    states = Counter(row.state for row in workers)
    told = ", ".join(f"{number} {state}" for state, number in states.most_common())
    return _count(len(workers), "worker") + (f": {told}" if told else "")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
