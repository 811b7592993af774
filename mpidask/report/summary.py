"""What a run was like, in a few numbers (pure)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from mpidask.report.account import BUSY, IDLE
from mpidask.report.record import Record

__all__ = ["NAMES", "PARTS", "Summary", "summarize"]

PARTS = (*BUSY, *IDLE)

_PEAK = ("worker", "bytes", "limit")

#: What each part is called.
NAMES = {
    "useful": "useful",
    "gil": "waiting for the interpreter lock",
    "lost": "tasks that failed, were cancelled or lost",
    "transfer": "transfers",
    "spill": "spilling",
    "serialize": "(de)serialisation",
    "scheduler": "scheduler and worker overhead",
    "few_tasks": "idle: too few tasks",
    "stragglers": "idle: stragglers",
    "unrunnable": "idle: tasks ask for what no worker has",
    "workers": "idle: waiting for workers",
    "script": "idle: the script alone",
}


@dataclasses.dataclass(frozen=True)
class Summary:
    """A run in numbers.

    wall:     s from its begin up to what is known last
    capacity: threads of all workers times s
    parts:    what that was there for, in the same unit
    startup:  s until the first task, None if there was none
    arrived:  s until as many threads were there as ever, and threads times s that had been waited for them until then
    cpu:      s of processor time that tasks took
    imports:  s for which tasks imported modules
    peak:     name, bytes and limit of the worker that used most of its memory; None if that is not known
    busiest:  threads that had a task at once
    mean:     s that a task took
    longest:  key and s of the task that took longest
    complete: whether the servers ended in order
    """

    wall: float
    capacity: float
    parts: Mapping[str, float]
    threads: int
    cores: int
    workers: int
    tasks: int = 0
    startup: float | None = None
    arrived: tuple[float, float] = (0.0, 0.0)
    cpu: float = 0.0
    imports: float = 0.0
    spilled: int = 0
    received: int = 0
    peak: tuple[str, int, int] | None = None
    busiest: int = 0
    restarts: int = 0
    mean: float = 0.0
    longest: tuple[str, float] | None = None
    complete: bool = True
    status: int | None = None

    def share(self, *parts: str) -> float:
        """Return the share of some parts in the capacity."""
        return sum(self.parts.get(part, 0.0) for part in parts) / self.capacity if self.capacity else 0.0

    @property
    def idle(self) -> float:
        """The share of the time in which threads had no task."""
        return self.share(*IDLE)

    @property
    def cause(self) -> str | None:
        """The part that has most of the idle time."""
        return max(IDLE, key=lambda part: self.parts.get(part, 0.0)) if self.idle else None

    @property
    def memory(self) -> float | None:
        """The largest share that a worker used of its memory's limit; None without a limit."""
        return None if self.peak is None or not self.peak[2] else self.peak[1] / self.peak[2]

    def to_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "wall_seconds": round(self.wall, 3),
            "core_hours": round(self.capacity / 3600, 6),
            "shares": {part: round(self.share(part), 4) for part in PARTS},
            "threads": self.threads,
            "cores": self.cores,
            "workers": self.workers,
            "tasks": self.tasks,
            "startup_seconds": self.startup,
            "arrival_seconds": self.arrived[0],
            "cpu_seconds": self.cpu,
            "import_seconds": self.imports,
            "spilled_bytes": self.spilled,
            "transferred_bytes": self.received,
            "peak_memory": None
            if self.peak is None
            else dict(zip(("worker", "bytes", "limit"), self.peak, strict=True)),
            "busiest_threads": self.busiest,
            "restarts": self.restarts,
            "complete": self.complete,
            "exit_status": self.status,
        }


def summarize(record: Record) -> Summary:
    """Return what a record comes to."""
    run, totals = record.run, record.totals
    moved, first, longest = totals.get("bytes", {}), totals.get("first"), totals.get("longest") or [None]
    tasks, kinds = totals.get("tasks", 0), totals.get("kinds", ())
    peak, arrived = totals.get("peak"), totals.get("arrived")
    return Summary(
        wall=record.last - record.began,
        capacity=totals.get("capacity", 0.0),
        parts=totals.get("parts", {}),
        threads=run.get("threads", 0),
        cores=run.get("cores", 0),
        workers=len(run.get("workers", ())),
        tasks=tasks,
        startup=None if first is None else round(first - record.began, 3),
        arrived=(0.0, 0.0) if arrived is None else (round(arrived[0] - record.began, 3), arrived[1]),
        cpu=totals.get("cpu", 0.0),
        imports=totals.get("imports", 0.0),
        spilled=int(moved.get("spilled", 0)),
        received=int(moved.get("received", 0)),
        peak=None if peak is None else (peak[0], peak[1], peak[2]),
        busiest=totals.get("busiest", 0),
        restarts=totals.get("restarts", 0),
        mean=sum(kind[1] for kind in kinds) / tasks if tasks else 0.0,
        longest=None if longest[0] is None else (longest[0][1], longest[0][0]),
        complete=record.end is not None,
        status=record.status,
    )
