"""How the jobs of a cluster are doing, for the dashboard's page "Ranks"."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from distributed import Scheduler, SchedulerPlugin
from distributed.scheduler import WorkerState

from mpidask.batch.job_state import JobState
from mpidask.dashboard.measured import hide_missing_pages, measured
from mpidask.dashboard.table import SOURCE, Row
from mpidask.jobqueue.jobs.job import Job

__all__ = ["JobsPage"]

_FAILED = 10  # jobs that are shown after they have failed


class JobsPage(SchedulerPlugin):
    """Tells the dashboard how each job is doing: `mpidask.dashboard.table.Source`.

    jobs:  returns those that wait or run
    ended: returns those that have ended
    pages: whether workers have pages
    """

    name = SOURCE
    heading = "job"

    def __init__(
        self, jobs: Callable[[], Sequence[Job]], ended: Callable[[], Sequence[Job]], *, pages: bool = False
    ) -> None:
        self._jobs, self._ended, self._pages = jobs, ended, pages
        self._workers: dict[str, WorkerState] = {}  # by name; those that are there
        self._came: dict[str, float] = {}  # name -> when it came last, by time.monotonic
        self._arrivals: Counter[str] = Counter()
        self._said: dict[str, str] = {}

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:
        """Take notice of a worker; its nanny starts it again under the same name."""
        state = scheduler.workers[worker]
        name = str(state.name)
        self._workers[name] = state
        self._came[name] = time.monotonic()
        hide_missing_pages(state, has_pages=self._pages)
        self._arrivals[name] += 1
        if self._arrivals[name] > 1:
            self._said[name] = f"started again at {_now()}"

    def remove_worker(self, scheduler: Scheduler, worker: str, **kwargs: Any) -> None:
        """Take notice that a worker has gone."""
        name = next((name for name, state in self._workers.items() if state.address == worker), None)
        if name is not None:
            del self._workers[name]
            self._said[name] = f"gone since {_now()}"

    def rows(self) -> list[Row]:
        """Return one row for each worker, and one for each job without any; the last failures come first."""
        failed = [job for job in self._ended() if job.state.ended_badly and not job.cancelled]
        rows = [_job_alone(job) for job in failed[-_FAILED:]]
        known = {*self._workers, *self._said}
        strangers = set(self._workers)
        for job in self._jobs():
            names = job.among(known)
            strangers -= names
            rows += self._of(job, names)
        return rows + [self._row("", name, self._workers[name]) for name in sorted(strangers)]

    def _of(self, job: Job, names: set[str]) -> Iterator[Row]:
        if not names:
            yield _job_alone(job)
        for name in sorted(names):
            yield self._row(job.id, name, self._workers.get(name), job.restarts)

    def _row(self, job: str, name: str, state: WorkerState | None, replaced: int = 0) -> Row:
        restarts, said = replaced + max(0, self._arrivals[name] - 1), self._said.get(name, "")
        gone: dict[str, Any] = {"state": "gone"}
        known = gone if state is None else measured(state, self._came[name])
        node = "" if state is None else state.host
        return Row(job, node, "worker", name, **known, restarts=restarts, message=said)


def _job_alone(job: Job) -> Row:
    """Return the row of a job that has no workers, or none yet."""
    state = "starting" if job.state is JobState.RUNNING else job.state.value
    return Row(job.id, "", "worker", "", state, restarts=job.restarts, message=job.standing.reason or "")


def _now() -> str:
    return time.strftime("%H:%M:%S")
