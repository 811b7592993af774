"""What the dashboard's page "Ranks" says: one row per worker, and what is shown of it (pure)."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from dask.utils import format_bytes

__all__ = ["HEADINGS", "SOURCE", "Row", "Source", "columns", "summary"]

#: Name of the scheduler plugin that knows the rows: a `Source`.
SOURCE = "mpidask-ranks"

_DIGITS = 12  # as many as the longest number in a name is filled up to, so that texts sort as numbers do


@dataclasses.dataclass(frozen=True)
class Row:
    """One worker, or a rank without any.

    place:   number of the rank, or id of the job, "" for a worker from elsewhere
    role:    in words
    worker:  its name, "" for a rank without workers
    pid:     of the worker's process; None while there is none
    memory, memory_limit: bytes, None if not known or without limit
    state:   of the worker: running, paused, closing, starting, dead (about to be started again), gone;
             or of its job: pending, held, failed
    restarts: how often the worker's process died
    message: what was said of it last, "" for nothing
    """

    place: str
    node: str
    role: str
    worker: str
    pid: int | None
    threads: int | None
    memory: int | None
    memory_limit: int | None
    state: str
    restarts: int = 0
    message: str = ""


class Source(Protocol):
    """The scheduler plugin that knows the rows."""

    @property
    def heading(self) -> str:
        """What a place is: "rank" or "job"."""

    def rows(self) -> Sequence[Row]:
        """Return the rows in the order of their places; called once a second for each page that is open."""


#: Field -> its column's heading, from left to right; that of the place is the source's.
HEADINGS = {
    "place": "Rank",
    "node": "Node",
    "role": "Role",
    "worker": "Worker",
    "state": "State",
    "pid": "PID",
    "threads": "Threads",
    "memory": "Memory",
    "memory_limit": "Limit",
    "restarts": "Restarts",
    "message": "Last message",
}


def columns(rows: Iterable[Row]) -> dict[str, list[Any]]:
    """Return the table's columns: values by which they sort, and for some "FIELD_text", what is shown of them."""
    rows = list(rows)
    table: dict[str, list[Any]] = {field: [getattr(row, field) for row in rows] for field in HEADINGS}
    for field in ("place", "node", "worker"):
        table[f"{field}_text"] = table[field]
        table[field] = [_sortable(text) for text in table[field]]
    table["memory_text"] = [_memory(row) for row in rows]
    table["memory_limit_text"] = [_bytes(row.memory_limit) for row in rows]
    return table


@functools.lru_cache(maxsize=10_000)
def _sortable(text: str) -> str:
    return re.sub(r"\d+", lambda number: number[0].zfill(_DIGITS), text)


def _memory(row: Row) -> str:
    if row.memory is None or not row.memory_limit:
        return _bytes(row.memory)
    return f"{_bytes(row.memory)} ({row.memory / row.memory_limit:.0%})"


def _bytes(size: int | None) -> str:
    return "" if size is None else format_bytes(size)


def summary(rows: Sequence[Row], place: str = "rank") -> str:
    """Return the line above the table.

    place: what a place is: "rank" or "job"
    """
    workers = [row for row in rows if row.worker]
    places, nodes = {row.place for row in rows if row.place}, {row.node for row in rows if row.node}
    parts = [f"{_count(len(places), place)} on {_count(len(nodes), 'node')}", _workers(workers)]
    used = sum(row.memory or 0 for row in workers)
    parts += [f"{_bytes(used)} in use by workers"] if used else []
    restarts = sum(row.restarts for row in workers)
    parts += [_count(restarts, "restart")] if restarts else []
    return " · ".join(parts)


def _workers(workers: Sequence[Row]) -> str:
    states = Counter(row.state for row in workers)
    told = ", ".join(f"{number} {state}" for state, number in states.most_common())
    return _count(len(workers), "worker") + (f": {told}" if told else "")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
