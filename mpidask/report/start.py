"""How the start went on each rank (pure)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from mpidask.report.record import Record

__all__ = ["PHASES", "StartRow", "rows"]

#: What a rank is at while a run starts, in this order, and what that is called.
PHASES = {
    "python": "Python and MPI",
    "meet": "options, and meeting the other ranks",
    "scheduler": "the scheduler",
    "workers": "workers",
}

_ROWS = 48


@dataclasses.dataclass
class StartRow:
    """What one rank did.

    spans: phase, and from when to when, in s since the first rank was started
    """

    label: str
    spans: list[tuple[str, float, float]]

    @property
    def end(self) -> float:
        """When it had started, in s since the first rank was started."""
        return max(end for _, _, end in self.spans)


def rows(record: Record) -> list[StartRow]:
    """Return a row for each rank, in their order; of many ranks the ones that took longest. None of an older record."""
    ranks = [rank for rank in record.run.get("ranks", ()) if rank.get("began")]
    if not ranks:
        return []
    origin, up = min(rank["began"][0] for rank in ranks), _up(record)
    found = [StartRow(f"rank {rank['rank']}, {rank['host']}", list(_spans(record, rank, up, origin))) for rank in ranks]
    kept = sorted((row for row in found if row.spans), key=lambda row: -row.end)[:_ROWS]
    return [row for row in found if row in kept]


def _up(record: Record) -> dict[int, float]:
    """Return rank -> when the last of its workers was up for the first time."""
    ranks = record.run.get("workers", {})
    first: dict[str, float] = {}
    for event in record.events:
        if event["kind"] == "up":
            first.setdefault(event["name"], event["t"])
    found: dict[int, float] = {}
    for name, when in first.items():
        if name in ranks:
            found[ranks[name]] = max(when, found.get(ranks[name], 0.0))
    return found


def _spans(record: Record, rank: Any, up: dict[int, float], origin: float) -> Iterator[tuple[str, float, float]]:
    """Yield what a rank did one after another; a clock that is behind makes no span negative."""
    last, joined = rank["began"]
    ends = (joined, record.began, record.run.get("listens"), up.get(rank["rank"]))
    for phase, end in zip(PHASES, ends, strict=True):
        if end is not None and end > last:
            yield phase, last - origin, end - origin
            last = end
