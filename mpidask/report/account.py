"""What the threads of all workers were there for, second by second (pure).

Threads times seconds are what a run costs. The threads that have a task are told from those that have none by looking
at the scheduler now and then; how long tasks were computed, and what else workers did, is measured by Dask.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

__all__ = ["BUSY", "IDLE", "Account", "Measured", "Situation", "WorkerLoad", "causes", "split"]

#: What a thread without a task waits for.
IDLE = ("few_tasks", "stragglers", "unrunnable", "workers", "script")

#: What a thread with a task is at.
BUSY = ("useful", "gil", "lost", "transfer", "spill", "serialize", "scheduler")


@dataclasses.dataclass(frozen=True)
class WorkerLoad:
    """A worker at a moment.

    threads: that it has
    tasks:   that it was given and has not finished
    paused:  whether it takes no task, for want of memory
    """

    threads: int
    tasks: int
    paused: bool = False


@dataclasses.dataclass(frozen=True)
class Situation:
    """The cluster at a moment.

    expected:   threads of all workers that there are to be
    queued:     whether the scheduler keeps tasks back that could run
    overlong:   whether a task runs that takes far longer than others of its kind
    unrunnable: whether there are tasks that ask for what no worker has
    """

    expected: int
    workers: Sequence[WorkerLoad] = ()
    queued: bool = False
    overlong: bool = False
    unrunnable: bool = False

    @property
    def threads(self) -> int:
        """Of the workers that are there."""
        return sum(worker.threads for worker in self.workers)

    @property
    def with_task(self) -> int:
        """Threads that have a task."""
        return sum(min(worker.threads, worker.tasks) for worker in self.workers)


def causes(now: Situation) -> dict[str, float]:
    """Return cause -> number of threads that have no task because of it."""
    found = {"workers": float(max(0, now.expected - now.threads))}
    for worker in now.workers:
        free = worker.threads - min(worker.threads, worker.tasks)
        if free:
            cause = "spill" if worker.paused else _cause(now)
            found[cause] = found.get(cause, 0.0) + free
    return found


def _cause(now: Situation) -> str:
    """Return why threads of a worker that takes tasks have none."""
    if now.queued:
        return "scheduler"
    if now.unrunnable:
        return "unrunnable"
    if not now.with_task:
        return "script"
    if now.overlong or any(worker.tasks > worker.threads for worker in now.workers):
        return "stragglers"  # what there is to do is with others
    return "few_tasks"


@dataclasses.dataclass
class Account:
    """What has come together.

    capacity: threads times seconds
    idle:     cause -> the same, of threads without a task
    busiest:  number of threads with a task -> s for which there were so many
    """

    capacity: float = 0.0
    idle: dict[str, float] = dataclasses.field(default_factory=dict)
    busiest: dict[int, float] = dataclasses.field(default_factory=dict)

    def note(self, now: Situation, seconds: float) -> None:
        """Add a time for which the cluster was as it is now."""
        self.capacity += seconds * max(now.expected, now.threads)
        for cause, threads in causes(now).items():
            self.idle[cause] = self.idle.get(cause, 0.0) + seconds * threads
        self.busiest[now.with_task] = self.busiest.get(now.with_task, 0.0) + seconds

    @property
    def peak(self) -> int:
        """Number of threads that had a task at once, but for the busiest 5 % of the time in which any had."""
        left = 0.05 * sum(seconds for threads, seconds in self.busiest.items() if threads)
        for threads in sorted(self.busiest, reverse=True):
            left -= self.busiest[threads]
            if left < 0:
                return threads
        return 0


@dataclasses.dataclass(frozen=True)
class Measured:
    """What Dask has measured, in s of threads.

    compute: tasks were computed, those that were lost included
    gil:     of this threads waited for the interpreter's lock
    lost:    of this tasks failed, were cancelled or died with their worker
    transfer, spill, serialize: what workers did besides; several at a time may count several times
    """

    compute: float = 0.0
    gil: float = 0.0
    lost: float = 0.0
    transfer: float = 0.0
    spill: float = 0.0
    serialize: float = 0.0


def split(account: Account, measured: Measured) -> dict[str, float]:
    """Return what the capacity was there for: the parts make up the whole."""
    capacity = account.capacity
    compute = min(measured.compute, capacity)
    idle = {cause: account.idle.get(cause, 0.0) for cause in IDLE}
    paused, behind = account.idle.get("spill", 0.0), account.idle.get("scheduler", 0.0)
    without = sum(idle.values()) + paused + behind
    scale = min(1.0, (capacity - compute) / without) if without else 1.0  # looks at moments miss short tasks
    overhead = capacity - compute - scale * without
    others = {name: getattr(measured, name) for name in ("transfer", "spill", "serialize")}
    fits = min(1.0, overhead / total) if (total := sum(others.values())) else 0.0
    parts = {name: fits * seconds for name, seconds in others.items()}
    lost = min(measured.lost, compute)
    gil = min(measured.gil, compute - lost)
    return {
        "useful": compute - gil - lost,
        "gil": gil,
        "lost": lost,
        "transfer": parts["transfer"],
        "spill": parts["spill"] + scale * paused,
        "serialize": parts["serialize"],
        "scheduler": max(0.0, overhead - sum(parts.values())) + scale * behind,
        **{cause: scale * seconds for cause, seconds in idle.items()},
    }


def rounded(parts: Mapping[str, float]) -> dict[str, float]:
    """Return them as they are written down."""
    return {name: round(seconds, 3) for name, seconds in parts.items()}
