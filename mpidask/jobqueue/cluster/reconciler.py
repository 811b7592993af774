"""Holds a cluster at its target: sees which jobs have ended, and replaces them."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections import deque
from collections.abc import Awaitable, Mapping
from typing import Any, Protocol

from distributed.core import Status

from mpidask.batch.job_state import JobId, JobState
from mpidask.errors import BatchError, MpidaskError, UnclearError, linked
from mpidask.jobqueue.cluster.plan import Plan
from mpidask.jobqueue.cluster.report import exit_summary, never_starts
from mpidask.jobqueue.jobs.dispatcher import Dispatcher
from mpidask.jobqueue.jobs.job import Job

__all__ = ["Reconciler"]

logger = logging.getLogger("mpidask.jobqueue")

_GLANCE = 0.25  # s between two looks at what jobs have left
_BACKOFF = 60.0  # s between two submissions at most, where jobs end before their workers come or soon after
_SOON = 60.0  # s that a job's workers live at least where all is well


class Held(Protocol):
    """A cluster, as far as it is held at its plan."""

    status: Any
    workers: dict[str, Any]
    scheduler_info: Any

    @property
    def jobs(self) -> list[Job]:
        """The jobs that wait or run."""

    def carry_out(self) -> Awaitable[None]:
        """Submit the jobs that are missing, and close those that are too many."""

    async def fail_tasks(self, failure: BatchError) -> None:
        """End the tasks that wait for workers with an error."""


class Reconciler:
    """What watches over the jobs of a cluster.

    plan:     which jobs there should be; those that have ended are taken out of it, or replaced
    dispatcher: knows the batch system
    interval: s in which the batch system is asked once at most
    limit:    after so many jobs in a row whose workers never came, or died soon, no more are submitted
    """

    def __init__(self, cluster: Held, plan: Plan, dispatcher: Dispatcher, interval: float, limit: int) -> None:
        self.cluster = cluster
        self.plan = plan
        self.dispatcher = dispatcher
        self.interval = interval
        self.limit = limit
        self.failures = 0
        self.failure: BatchError | None = None
        self.ended: deque[Job] = deque(maxlen=100)
        self._asked = 0.0
        self._hopeless: set[JobId] = set()  # jobs of which it was logged that they will never start
        self._hold_back = 0.0  # until then nothing is replaced
        self._failed_at = 0.0  # when a failure was counted last, in s since 1970
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch, in the running event loop."""
        if self._task is None:
            self._task = asyncio.ensure_future(self._watch())

    async def stop(self) -> None:
        """Watch no more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def reset_failures(self) -> None:
        """Begin to count failures anew: the user wants jobs again."""
        self.failures, self.failure, self._hold_back = 0, None, 0.0

    async def _watch(self) -> None:
        while self.cluster.status == Status.running:
            try:
                await self.look()
            except MpidaskError as error:
                logger.warning("%s", linked(error.what, error.key))
            except Exception:  # the watch must go on
                logger.exception("%s", linked("the jobs could not be looked after", "report-a-defect"))
            await asyncio.sleep(_GLANCE)

    async def look(self) -> None:
        """Take notice of workers that have come and of jobs that have ended; replace these.

        A job whose script has ended, but which the batch system still lists as running, may be run again: it counts
        until that is settled.
        """
        # Also those whose search ended without an id, while a look was under way that began before they were there.
        jobs = [job for job in self.cluster.workers.values() if job.id or job.unclear or job.standing.final]
        self.notice_workers(jobs)
        due = time.monotonic() - self._asked >= self.interval
        news = any(_just_exited(job) for job in jobs)
        if (jobs or self.dispatcher.unclear) and (due or news):
            self._asked = time.monotonic()
            await self.dispatcher.look(jobs)
            self.notice_workers(jobs)  # those that have come meanwhile: the answer is older
            self._notice_vanished(jobs)
            self._notice_hopeless(jobs)
        gone = [job for job in jobs if job.standing.state.ended and job.standing.final]
        for job in gone:
            await self._remove_ended(job)
        if gone or self.plan.missing:
            await self._replace()
        if self.failure is not None:
            await self.cluster.fail_tasks(self.failure)

    def _notice_vanished(self, jobs: list[Job]) -> None:
        """Take a job for ended that the batch system does not list and whose workers have gone, too."""
        for job in jobs:
            seen = job.standing.absent is not None and job.standing.native  # the question was about it
            if seen and job.arrived_at is not None and not job.present:
                why = job.standing.reason or "it left the queue: killed or cancelled, or its node was lost"
                job.standing = dataclasses.replace(job.standing, state=JobState.FAILED, reason=why, final=True)

    def _notice_hopeless(self, jobs: list[Job]) -> None:
        """Log, once for each, which jobs the batch system says will never start."""
        hopeless = {job.identity: job for job in jobs if never_starts(job)}
        for identity in hopeless.keys() - self._hopeless:
            logger.warning(
                "%s",
                linked(
                    f"job {identity} ({hopeless[identity].name}): {hopeless[identity].standing.reason}",
                    "jobs-of-a-cluster",
                ),
            )
        self._hopeless = set(hopeless)

    def notice_workers(self, jobs: list[Job]) -> None:
        """Take notice of the workers that are there."""
        names = {str(worker["name"]) for worker in self.cluster.scheduler_info["workers"].values()}
        for job in jobs:
            job.present = job.among(names)
            if job.present and job.standing.state in (JobState.PENDING, JobState.UNKNOWN):
                job.standing = dataclasses.replace(job.standing, state=JobState.RUNNING, reason=None)
            if not job.present:
                continue
            had_lived = job.lived
            job.seen_at = time.time()
            job.arrived_at = job.arrived_at or job.seen_at
            if had_lived < _SOON <= job.lived:  # once for each
                self.failures, self._hold_back = 0, 0.0

    async def _remove_ended(self, job: Job) -> None:
        """Take a job that has ended out of the cluster."""
        name = next((name for name, each in self.cluster.workers.items() if each is job), None)
        if name is None:
            return
        del self.cluster.workers[name]
        self.ended.append(job)
        spec = self.plan.lose(name)
        if spec is None:
            return
        job.status = Status.closed
        died_soon = job.standing.state is JobState.FAILED and job.lived < _SOON
        if job.arrived_at is None or (died_soon and job.submitted > self._failed_at):
            self._count(job)  # those that were lost together count once: its node may have been to blame
        elif job.standing.state.ended_badly:
            logger.warning("%s", linked(f"{exit_summary(job, tail=False)}; it is replaced", "jobs-of-a-cluster"))
        if self.failure is None:
            self.plan.want_again(spec, job.restarts + 1)

    def _count(self, job: Job) -> None:
        """Count a job whose workers never came, or died soon."""
        if self.failure is not None:
            return
        self.failures += 1
        self._failed_at = time.time()
        said = exit_summary(job, tail=True)
        if self.failures < self.limit:
            pause = min(2.0 ** (self.failures - 1), _BACKOFF)
            self._hold_back = time.monotonic() + pause
            logger.warning("%s", linked(said, "jobs-of-a-cluster"))
            return
        self.failure = BatchError(
            f"no more jobs are submitted: {self.failures} in a row ended before their workers came or soon after\n"
            f"{said}",
            "see its last words; mend it, then call scale() or adapt() again",
        )
        self.plan.give_up()
        logger.error("%s", linked(self.failure.what, "jobs-of-a-cluster"))

    async def _replace(self) -> None:
        if self.holds_back:
            return
        waiting = any(job.arrived_at is None for job in self.cluster.jobs)
        if self.failures and waiting:
            return  # one at a time, until one has brought its workers
        planned = self.plan.replace(1 if self.failures else None)
        if planned:
            try:
                await asyncio.shield(self.cluster.carry_out())  # the cluster's end waits for it
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                self._put_back(planned)  # Ctrl-C of somebody who waited for the same
            except Exception as error:  # noqa: BLE001 - whatever it is, they are still to be replaced
                self._put_back(planned)
                said = error if isinstance(error, BatchError) else BatchError(f"{type(error).__name__}: {error}")
                self.note_refusal(said)

    def _put_back(self, planned: Mapping[str, Any]) -> None:
        there = self.cluster.workers
        self.plan.put_back({name: each for name, each in planned.items() if name not in there})

    @property
    def holds_back(self) -> bool:
        """Whether it is too early for further submissions."""
        return self.failure is not None or time.monotonic() < self._hold_back

    def note_refusal(self, error: BatchError) -> None:
        """Take notice of a submission, not the user's own, that was refused: wait, and give up after some.

        One that may have been taken has failed only when the job is looked for and not there.
        """
        self._hold_back = time.monotonic() + min(2.0 ** (self.failures + 1), _BACKOFF)
        logger.warning("%s", linked(error.what, error.key))
        if isinstance(error, UnclearError):
            return
        self.failures += 1
        if self.failures >= self.limit:
            self.failure = error
            self.plan.give_up()


def _just_exited(job: Job) -> bool:
    """Whether a job's script has ended since the batch system was asked about it."""
    return job.exited is not None and job.standing.is_outdated(job.exited_at)
