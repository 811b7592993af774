"""What each worker did when, on a grid of time (pure)."""

from __future__ import annotations

import dataclasses
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from mpidask.report.record import SAMPLE, Record

__all__ = ["Row", "memory", "rows"]

OTHER = "other kinds"
_KINDS = 6  # that have a colour of their own
_BINS, _ROWS = 200, 48
_ROUNDED = 0.005  # s by which the time of a sample may be too early
_MEMORY, _SPILLED, _RUNNING, _COMPUTED, _TRANSFER, _SERIALIZE, _DISK, _OF_KINDS = range(len(SAMPLE))


@dataclasses.dataclass
class Row:
    """What one worker did, or several together.

    there: the part of its threads that was there, for each cell of the grid
    bins:  activity -> the part of its threads that was at it, for each cell
    deaths: when processes died, as parts of the run's time
    """

    label: str
    there: list[float]
    bins: dict[str, list[float]]
    deaths: list[float] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class _Life:
    """A worker, as its record has it."""

    name: str
    rank: int | None
    threads: int
    spans: list[tuple[float, float]]


def rows(record: Record) -> list[Row]:
    """Return a row for each worker, in the order of the ranks; of many workers several share one."""
    lives = sorted(_lives(record).values(), key=lambda life: (life.rank is None, life.rank or 0, life.name))
    if not lives or record.last <= record.began:
        return []
    together = -(-len(lives) // _ROWS)
    groups = [lives[start : start + together] for start in range(0, len(lives), together)]
    spent, colours = _spent(record), _colours(record)
    return [_row(record, group, spent, colours) for group in groups]


def _colours(record: Record) -> set[str]:
    return {kind[0] for kind in record.totals.get("kinds", ())[:_KINDS]}


def _lives(record: Record) -> dict[str, _Life]:
    """Return the workers by name, with the times for which they were there."""
    ranks = record.run.get("workers", {})
    found: dict[str, _Life] = {}
    since: dict[str, float] = {}
    for event in record.events:
        name = event["name"]
        if event["kind"] == "up":
            found.setdefault(name, _Life(name, ranks.get(name), event["threads"], []))
            since[name] = event["t"]
        elif event["kind"] == "down" and name in since:
            found[name].spans.append((since.pop(name), event["t"]))
    for name, begin in since.items():
        found[name].spans.append((begin, record.last))
    return found


def _spent(record: Record) -> dict[str, list[tuple[float, float, dict[str, float]]]]:
    """Return name of a worker -> from when to when it spent how many s on what."""
    found = defaultdict[str, list[tuple[float, float, dict[str, float]]]](list)
    last: dict[tuple[str, int], Sequence[Any]] = {}
    begins = defaultdict[str, list[float]](list)
    for event in record.events:
        if event["kind"] == "up":
            begins[event["name"]].append(event["t"])
    pending = defaultdict[str, list[tuple[float, float, float]]](list)  # computed, of a kind that is not known yet
    for sample in record.samples:
        for name, entry in sample["workers"].items():
            begin, end = sample.get("since", sample["t"] - 1), sample["t"]
            life = name, bisect_right(begins[name], end + _ROUNDED)  # each has sums of its own
            before = last.get(life, (0, 0, 0, 0.0, 0.0, 0.0, 0.0, {}))
            last[life] = [*entry[:_OF_KINDS], {**before[_OF_KINDS], **entry[_OF_KINDS]}]
            others = {
                "transfer": entry[_TRANSFER] - before[_TRANSFER],
                "spill": entry[_SERIALIZE] - before[_SERIALIZE] + entry[_DISK] - before[_DISK],
            }
            found[name].append((begin, end, {what: max(0.0, seconds) for what, seconds in others.items()}))
            pending[name].append((begin, end, max(0.0, entry[_COMPUTED] - before[_COMPUTED])))
            kinds = _more(entry[_OF_KINDS], before[_OF_KINDS])
            if kinds:
                found[name] += _divided(pending.pop(name), kinds)
    for name, left in pending.items():
        found[name] += _divided(left, {OTHER: 1.0})
    return found


def _more(now: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    return {kind: more for kind, seconds in now.items() if (more := seconds - before.get(kind, 0.0)) > 0}


def _divided(
    computed: Sequence[tuple[float, float, float]], kinds: Mapping[str, float]
) -> list[tuple[float, float, dict[str, float]]]:
    """Return what was computed, divided by kind: tasks are known by kind when they have ended."""
    total = sum(kinds.values())
    return [
        (begin, end, {f"kind {kind}": seconds * share / total for kind, share in kinds.items()})
        for begin, end, seconds in computed
        if seconds
    ]


def _row(record: Record, group: Sequence[_Life], spent: Mapping[str, Any], colours: set[str]) -> Row:
    grid = _Grid(record.began, record.last)
    threads = sum(life.threads for life in group)
    there = [0.0] * _BINS
    bins: dict[str, list[float]] = {}
    for life in group:
        for begin, end in life.spans:
            grid.add(there, begin, end, (end - begin) * life.threads / threads)
        for begin, end, what in spent.get(life.name, ()):
            for activity, seconds in what.items():
                known = not activity.startswith("kind ") or activity[5:] in colours
                name = activity if known else f"kind {OTHER}"
                grid.add(bins.setdefault(name, [0.0] * _BINS), begin, end, seconds / threads)
    first, last = group[0], group[-1]
    rank = "" if first.rank is None else f"rank {first.rank}, "
    label = f"{rank}{first.name}" if len(group) == 1 else f"{first.name} to {last.name}"
    names, length = {life.name for life in group}, record.last - record.began
    died = [event["t"] for event in record.events if event["kind"] == "died" and event["name"] in names]
    return Row(label, there, bins, [(when - record.began) / length for when in died])


class _Grid:
    """Cells of equal length."""

    def __init__(self, begin: float, end: float) -> None:
        self._begin, self._width = begin, (end - begin) / _BINS

    def add(self, cells: list[float], begin: float, end: float, seconds: float) -> None:
        """Spread s over a time; cells take shares of their length."""
        if end <= begin:
            return
        density = seconds / (end - begin)
        first = max(0, int((begin - self._begin) / self._width))
        last = min(_BINS - 1, int((end - self._begin) / self._width))
        for index in range(first, last + 1):
            left = self._begin + index * self._width
            overlap = min(end, left + self._width) - max(begin, left)
            cells[index] += max(0.0, overlap) * density / self._width


def memory(record: Record) -> dict[str, list[tuple[float, int]]]:
    """Return name of a worker -> when, in s from the begin, it used how many bytes."""
    found = defaultdict[str, list[tuple[float, int]]](list)
    for sample in record.samples:
        for name, entry in sample["workers"].items():
            found[name].append((sample["t"] - record.began, entry[_MEMORY]))
    return dict(found)
