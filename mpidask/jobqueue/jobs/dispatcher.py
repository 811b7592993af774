"""Submits and cancels the jobs of a cluster, with as few commands as can be."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path

from distributed.core import Status

from mpidask.batch import cleaning, leases, sentinel, settings
from mpidask.batch.commands import runner
from mpidask.batch.job_state import JobId, JobState
from mpidask.batch.leases import Lease
from mpidask.batch.queries import lookup, monitor
from mpidask.batch.queries.questions import cancel_commands
from mpidask.batch.scripts.submit_command import chosen_destination
from mpidask.batch.status import SIGNALS, Standing
from mpidask.batch.submission import attempt
from mpidask.batch.system import BatchSystem
from mpidask.errors import BatchError, UnclearError, linked
from mpidask.jobqueue.jobs.preparation import consecutive_jobs, prepare
from mpidask.jobqueue.jobs.spec import JobRange
from mpidask.jobqueue.jobs.tracked_job import TrackedJob

__all__ = ["Dispatcher"]

logger = logging.getLogger("mpidask.jobqueue")

_AT_ONCE = 4  # submit commands, where there are no job arrays
_FAREWELL = 5.0  # s in which a job whose workers have closed may end by itself


@dataclasses.dataclass(frozen=True)
class _Unclear:
    """One job, or those of an array, of which it is not known whether the batch system has taken them.

    where: where they were submitted; see `JobId`
    """

    jobs: Sequence[TrackedJob]
    script: Path
    where: tuple[str, ...]


class Dispatcher:
    """What stands between a cluster and its batch system. Commands run in threads, not in the event loop.

    system:  the batch system
    title:   what the cluster is called in the records
    further: further words of the submit and of the cancel command
    standalone:  whether it is there for one job without a cluster
    """

    def __init__(
        self,
        system: BatchSystem,
        title: str,
        further: tuple[tuple[str, ...], tuple[str, ...]] = ((), ()),
        *,
        standalone: bool = False,
    ) -> None:
        self.system = system
        self.title = title
        self.standalone = standalone
        self.submissions = 0  # commands
        self._further_submit, self._further_cancel = further
        self._lease: Lease | None = None
        self._sentinel: int | None = None
        self._proven = False
        self._arrays = True
        self._under_way: set[asyncio.Task[None]] = set()  # submit commands
        self._over: set[JobId] = set()  # jobs that are known to have left the queue
        self.unclear: list[_Unclear] = []

    @classmethod
    def alone(cls, job: TrackedJob) -> Dispatcher:
        """Return a dispatcher for one job."""
        return cls(job.spec.system, type(job).__name__, job.spec.further_words, standalone=True)

    @property
    def lease(self) -> Lease:
        """The record of the jobs; made when it is first asked for. Raises BatchError if it cannot be."""
        if self._lease is None:
            self._lease = leases.create(self.system.name, self.title, self._further_cancel)
        return self._lease

    def guarded(self) -> Lease:
        """Return the record of the jobs; from now on a sentinel sees to what a killed program leaves.

        Raises BatchError if it cannot be made or the sentinel does not start.
        """
        if self._sentinel is None:
            self._sentinel = sentinel.start(self.lease)
        return self.lease

    @property
    def directory(self) -> Path | None:
        """Where the jobs leave their logs; None before the first is submitted."""
        return None if self._lease is None else self._lease.directory

    async def submit(self, jobs: Sequence[TrackedJob]) -> None:
        """Submit jobs. The first one ever is the canary: the others follow when the batch system has taken it.

        Raises BatchError if the batch system refuses; jobs that it has taken until then are running.
        A submit command that is under way cannot be taken back: whoever cancels this waits for it with `settle`.
        """
        waiting = list(jobs)
        if not self._proven and waiting:
            await self._submit([waiting.pop(0)])
            self._proven = True
        for each in consecutive_jobs(waiting):
            if len(each) == 1 or not await self._submit_array(each):
                await self._submit_each(each)

    async def _submit_array(self, jobs: Sequence[TrackedJob]) -> bool:
        """Submit jobs with consecutive numbers as one job array; return whether that was possible."""
        job_range = JobRange(self.lease.directory, jobs[0].number, len(jobs))
        if not self._arrays or not all(job.spec.arrays(job_range) for job in jobs):
            return False
        try:
            await self._submit(jobs)
        except UnclearError:  # they may be there
            raise
        except BatchError as error:
            self._arrays = False
            why = error.what.splitlines()[0]
            logger.warning("%s", linked(f"no job arrays here, jobs are submitted one by one: {why}", "job-arrays"))
            return False
        return True

    async def _submit_each(self, jobs: Sequence[TrackedJob]) -> None:
        slots = asyncio.Semaphore(_AT_ONCE)

        async def one(job: TrackedJob) -> None:
            async with slots:
                await self._submit([job])

        done = await asyncio.gather(*(one(job) for job in jobs), return_exceptions=True)
        for result in done:
            if isinstance(result, BaseException):
                raise result

    async def _submit(self, jobs: Sequence[TrackedJob]) -> None:
        """Submit one job, or several as an array, with one command."""
        for job in jobs:
            job.directory = self.lease.directory
        task = asyncio.ensure_future(asyncio.to_thread(self._run_submit, jobs))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        await asyncio.shield(task)

    async def settle(self) -> None:
        """Wait for the submit commands that are under way: then it is known which jobs there are."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    def _run_submit(self, jobs: Sequence[TrackedJob]) -> None:
        """Submit one job, or several as an array; each knows its id afterwards."""
        if not self.submissions:
            cleaning.tidy(settings.load({}))  # which may take a while: here, and not in the event loop
        lease = self.guarded()
        prepared = prepare(self.system, jobs, lease.directory, self._further_submit)
        self.submissions += 1
        for job in jobs:
            job.submitted = time.time()
        try:
            handed = attempt.run_submit(self.system, prepared.command, prepared.script, name=jobs[0].job_name)
        except UnclearError:
            for job in jobs:
                job.unclear, job.status = True, Status.running
                job.standing = Standing(id="", state=JobState.UNKNOWN, reason="it may have been submitted")
            where = chosen_destination(self.system, prepared.command, prepared.text, os.environ, "")
            self.unclear.append(_Unclear(jobs, prepared.script, where))
            raise
        self._note_taken(jobs, handed)

    def _note_taken(self, jobs: Sequence[TrackedJob], handed: JobId) -> None:
        """Note the ids of jobs that the batch system has taken: of one job, or of those of an array."""
        facts = self.system.workers
        assert facts is not None
        elements = [facts.element_id(handed.id, index + 1) for index in range(len(jobs))]
        ids = [handed] if len(jobs) == 1 else [JobId(element, handed.where) for element in elements]
        for job, job_id in zip(jobs, ids, strict=True):
            job.id, job.where, job.unclear, job.status = job_id.id, job_id.where, False, Status.running
            job.standing = Standing(id=str(job_id))
        try:
            self.lease.add(zip((job.number for job in jobs), ids, strict=True))
        except OSError as error:  # only a program that is killed leaves them behind
            logger.warning(
                "%s", linked(f"jobs {', '.join(map(str, ids))} are not on record: {error}", "jobs-of-a-cluster")
            )

    async def _search(self) -> None:
        """Look for the jobs that may have been submitted; what is found and not wanted any more is cancelled."""
        for each in list(self.unclear):
            try:
                name = each.jobs[0].job_name
                found = await asyncio.to_thread(lookup.find_by_script, self.system, each.script, name, each.where)
            except BatchError as error:
                logger.debug("%s", error.what)
                continue
            if found is not None:
                logger.warning(
                    "%s", linked(f"{self.system.title} has taken job {found}, though it did not say so", "UnclearError")
                )
                self._note_taken(each.jobs, found)
                await self._cancel([job for job in each.jobs if job.cancelled])
            elif time.time() - each.jobs[0].submitted > lookup.APPEARS and not any(job.present for job in each.jobs):
                for job in each.jobs:
                    job.unclear, job.standing = False, _not_there(job)
            else:
                continue
            self.unclear.remove(each)

    async def cancel(self, jobs: Sequence[TrackedJob], patience: float = 0.0) -> None:
        """Cancel jobs, with one command. A batch system that does not take it is reported, not raised.

        patience: s in which those that run may end by themselves, because their workers have been closed
        Submit commands that are under way come to their end first.
        """
        await self.settle()
        for job in jobs:
            job.cancelled = job.cancelled or job.unclear  # when it is found
        left = [job for job in jobs if job.id and not job.standing.final]
        deadline = time.monotonic() + min(patience, _FAREWELL)
        closing = [job for job in left if job.present or (job.arrived_at is not None and not _waits(job))]
        now = [job for job in left if job not in closing]
        await self._cancel(now)
        while (closing := [job for job in closing if not self._has_ended(job)]) and time.monotonic() < deadline:  # noqa: ASYNC110 - files tell
            await asyncio.sleep(0.05)
        await self._cancel(closing)

    async def _cancel(self, jobs: Sequence[TrackedJob]) -> None:
        for job in jobs:
            job.cancelled = True
        await self._cancel_ids([job.identity for job in jobs])

    async def _cancel_ids(self, ids: Sequence[JobId]) -> None:
        for command in cancel_commands(self.system, ids, self._further_cancel):
            try:
                output = await asyncio.to_thread(runner.run, command)
            except BatchError as error:
                logger.warning("%s", linked(error.what, error.key))
                continue
            if output.status != 0:
                logger.debug("jobs that were to be cancelled may have ended: %s", output.text)

    async def look(self, jobs: Sequence[TrackedJob]) -> None:
        """Ask the batch system about jobs, with one status command; their `standing` tells what it says."""
        await self._search()
        mine = [job for job in jobs if job.id and not job.standing.final]
        if not mine:
            return
        standings = await asyncio.to_thread(monitor.judge_all, self.system, mine, 1)
        for job, standing in zip(mine, standings, strict=True):
            if not job.standing.final:  # else its end was noticed meanwhile
                job.standing = standing
            if job.standing.final:
                self._over.add(job.identity)

    async def confirm(self, jobs: Sequence[TrackedJob], timeout: float) -> bool:
        """Wait until no job that was ever submitted is left in the queue; return whether that is known.

        jobs: those that have just been cancelled; what is left of them after a while is cancelled again
        """
        begin = time.monotonic()
        await self._search()
        for each in self.unclear:
            logger.warning(
                "%s", linked(f"a job may be left in the queue, nobody says so: {each.script}", "UnclearError")
            )
        ended = {job.identity for job in jobs if job.standing.final or not self._may_be_left(job)}
        cancelled = {job.identity for job in jobs if job.id} - ended
        left = sorted({*self._submitted, *cancelled} - ended - self._over)
        again, pause = True, 0.2
        while left and time.monotonic() - begin < timeout:
            try:
                left = await asyncio.to_thread(leases.living, self.system, left)
            except BatchError as error:
                said = f"{error.what}\njobs may be left in the queue: they are cancelled if it answers soon"
                logger.warning("%s", linked(said, "jobs-of-a-cluster"))
                await self._cancel_ids(left)
                return False
            late = again and time.monotonic() - begin > timeout / 2
            again = again and not late
            remains = [each for each in left if late or each not in cancelled]
            await self._cancel_ids(remains)
            cancelled.update(remains)
            await asyncio.sleep(pause if left else 0)
            pause = min(2 * pause, 2.0)
        return not left

    @property
    def _submitted(self) -> list[JobId]:
        """All jobs that were ever submitted, those that nobody knows any more among them."""
        return [] if self._lease is None else self._lease.ids

    def _has_ended(self, job: TrackedJob) -> bool:
        """Whether a job has ended by itself, and not only an execution after which it runs again."""
        earlier = _waits(job) or job.standing.restarts > (job.execution or 0)
        preempted = self.system.runs_again and (job.exited or 0) > SIGNALS
        return job.exited is not None and not earlier and not preempted

    def _may_be_left(self, job: TrackedJob) -> bool:
        """Whether a job may still be in the queue: one that was preempted is, though its script has ended."""
        return job.exited is None or self.system.runs_again

    def end(self, *, released: bool = True) -> None:
        """Nothing is held any more; released: else the sentinel goes on to look for jobs that are left."""
        if self._lease is not None and released:
            self._lease.note_released()
        if self._sentinel is not None:
            os.close(self._sentinel)
            self._sentinel = None


def _not_there(job: TrackedJob) -> Standing:
    """Return what is known of a job that may have been submitted and that the batch system does not list."""
    state = JobState.DONE if job.exited == 0 else JobState.FAILED
    reason = None if job.exited == 0 else "the batch system did not say that it took the job, and does not list it"
    return dataclasses.replace(job.standing, state=state, exit_status=job.exited, reason=reason, final=True)


def _waits(job: TrackedJob) -> bool:
    """Whether a job waits, for the first time or to run again."""
    return job.standing.state in (JobState.PENDING, JobState.HELD)
