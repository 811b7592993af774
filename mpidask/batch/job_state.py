"""What a batch system says of a job: which one is meant, its state, a report (pure)."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable

__all__ = ["NEVER", "NODE_FAILED", "JobId", "JobState", "Report", "by_destination"]

#: What the plain words of a reason end with if the job waits in vain.
NEVER = "it will never start"

#: The plain words of a reason of a job that has ended because it lost a node.
NODE_FAILED = "a node failed"


class JobState(enum.Enum):
    """What became of a job, in the words of every batch system."""

    PENDING = "pending"
    HELD = "held"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"

    @property
    def ended(self) -> bool:
        """Whether the job will not run any more."""
        return self is JobState.DONE or self.ended_badly

    @property
    def ended_badly(self) -> bool:
        """Whether the job has ended without doing all its work."""
        return self in (JobState.FAILED, JobState.CANCELLED)

    @classmethod
    def after(cls, words: str | None) -> JobState:
        """Return the state of a job that has ended badly, for why: plain words as in `BatchSystem.reasons`."""
        return cls.CANCELLED if words is not None and words.startswith("cancelled") else cls.FAILED


@dataclasses.dataclass(frozen=True, order=True, slots=True)
class JobId:
    """Which job is meant: a batch system's number, and where it counts.

    id:    as the batch system's commands take it
    where: what each of the system's `destinations` was when the job was submitted, "" for what the commands take by
           themselves; () if that is so of all. What a variable names is NAME=VALUE, and not shown
    """

    id: str
    where: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "@".join([self.id, *(each for each in self.where if each and "=" not in each)])

    @classmethod
    def from_json(cls, job_id: str, where: object = ()) -> JobId:
        """Return a job from what a file tells of it; without a list of destinations it was submitted here."""
        return cls(job_id, tuple(map(str, where)) if isinstance(where, list) else ())


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What a batch system says of one job.

    native:      the system's own word for the state
    reason:      why the job waits, or how it ended, in the system's words; None if it does not say
    start:       when it started or is expected to; ISO 8601 in local time, None if it does not say
    exit_status: 128 + n for signal n; None if it does not say
    restarts:    how often it was started again; None if it does not say
    lost:        the node that it has lost, "" if none is named
    """

    id: str
    state: JobState
    native: str = ""
    reason: str | None = None
    start: str | None = None
    exit_status: int | None = None
    restarts: int | None = None
    lost: str = ""


def by_destination(jobs: Iterable[JobId]) -> dict[tuple[str, ...], list[str]]:
    """Return destination -> ids of the jobs that were submitted there."""
    destinations: dict[tuple[str, ...], list[str]] = {}
    for job in jobs:
        destinations.setdefault(job.where, []).append(job.id)
    return destinations
