"""Submitting a job, and what one holds in hand afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from mpidask import run_directory
from mpidask.batch import cleaning, registry, settings
from mpidask.batch.job import BatchJob
from mpidask.batch.job_state import JobState
from mpidask.batch.queries import lookup, monitor
from mpidask.batch.records import store
from mpidask.batch.records.record import Record
from mpidask.batch.status import Standing
from mpidask.batch.submission.attempt import ClaimedError, submit_record
from mpidask.batch.submission.cancellation import cancel_records
from mpidask.batch.submission.resubmission import resubmit
from mpidask.batch.system import BatchSystem
from mpidask.errors import UnclearError, UsageError, WalltimeError, warn
from mpidask.quantities import seconds

__all__ = ["AsyncHandle", "Handle", "cancel", "find", "jobs", "submit", "submit_async"]

_GLANCE = 0.3  # s between two looks at a file
_HOPE = 600.0  # s in which whoever follows a job waits for what became of its submission


class Handle:
    """A job that was submitted. It can be found again from any shell, later: `find`, `jobs`.

    What it tells is at most `interval` s old; the batch system is asked when it is older.
    """

    def __init__(self, record: Record, interval: float) -> None:
        self.record = record
        self.interval = interval

    def __repr__(self) -> str:
        standing = self.record.standing
        return f"<Handle {self.record.system} job {self.id} ({self.record.job}): {standing.state.value}>"

    @property
    def id(self) -> str:
        """The job id, as the batch system gave it; with ``@DESTINATION`` where one was chosen."""
        return self.record.id

    @property
    def name(self) -> str:
        """The run's name, which no other job has."""
        return self.record.name

    @property
    def title(self) -> str:
        """What commands know the job by: its id, or the run's name where that is not known."""
        return self.id or self.name

    @property
    def directory(self) -> Path:
        """The run directory, with the script and the logs."""
        return self.record.directory

    def refresh(self) -> Standing:
        """Return what is known of the job; asks the batch system if that is more than `interval` s old."""
        return monitor.look([self.record], self.interval)[self.name]

    def recheck(self) -> Standing:
        """Return what is known of the job; a job that was given up is asked about again: it may not have ended."""
        return monitor.look_again([self.record])[self.name]

    @property
    def state(self) -> JobState:
        """The job's state."""
        return self.refresh().state

    @property
    def reason(self) -> str | None:
        """Why it waits or how it ended, in plain words; None if that is not known."""
        return self.refresh().reason

    @property
    def exit_status(self) -> int | None:
        """The script's exit status, 128 + n if signal n ended it; None before, or if it is not known."""
        return self.refresh().exit_status

    @property
    def time_left(self) -> float | None:
        """The walltime that is left, in s; None if the job does not run or does not say."""
        progress = self.record.progress
        if self.state is not JobState.RUNNING or progress is None or progress.ends is None:
            return None
        return max(0.0, progress.ends - time.time())

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for the job's end; return its exit status, None if it is not known.

        timeout: s; raises TimeoutError after them
        A job that wants to be submitted again and could not do it from its node is submitted again; raises BatchError
        if the batch system refuses that.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self.is_over(standing := self.refresh()):
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"job {self.title} is {standing.state.value} after {timeout:g} s")
            time.sleep(_GLANCE)
        return standing.exit_status

    def follow(self) -> Iterator[Standing]:
        """Yield what is known of the job, a few times a second, to the end."""
        while True:
            standing = self.refresh()
            yield standing
            if self.is_over(standing):
                return
            time.sleep(_GLANCE)

    def is_over(self, standing: Standing) -> bool:
        """Whether the job has ended for good; submits it again if it wanted that and could not do it from its node."""
        return standing.final and self.record.id == standing.id and not self._again(standing)

    def _again(self, standing: Standing) -> bool:
        """Submit a job again that wanted to, but could not from its node: some sites allow that on login nodes only.

        Return whether it goes on: another process may be submitting it, or have done so.
        """
        record = self.record
        left = len(record.submissions) <= record.requeue
        if not record.id or standing.exit_status != WalltimeError.status or not left or record.cancel_asked:
            return False
        claim = record.claimed
        if claim is not None:
            return claim.is_held or (lookup.is_possible(record) and time.time() - claim.since < _HOPE)
        with contextlib.suppress(ClaimedError):
            resubmit(self.directory)
        return True

    def logs(self, rank: int | None = None) -> str:
        """Return what the job has printed so far, or what the servers and tasks of one rank have.

        Raises UsageError if there is no such log.
        """
        return self.log(rank).read_text(encoding="utf-8", errors="replace")

    def log(self, rank: int | None = None) -> Path:
        """Return the file in which that stands; raises UsageError if there is none."""
        progress = self.record.progress
        if rank is None or (progress is not None and rank == progress.script):
            path = self.record.log
        else:
            path = Path(run_directory.rank_log(str(self.directory), rank))
        if not path.exists():
            what = "job" if rank is None else f"rank {rank} of job"
            state = self.record.standing.state.value
            raise UsageError(f"{what} {self.title} has printed nothing yet: {path} is not there", f"the job is {state}")
        return path

    def log_of_worker(self, worker: str) -> Path:
        """Return the file in which a worker's output stands; raises UsageError if there is no such worker."""
        progress = self.record.progress
        names = progress.names if progress is not None else {}
        if worker not in names:
            raise UsageError(
                f"job {self.title} has no worker {worker!r}",
                f"there are: {', '.join(names)}" if names else "none has come up yet",
            )
        return self.log(names[worker])

    def cancel(self) -> None:
        """Cancel the job, whether it waits or runs; raises BatchError if the batch system refuses."""
        cancel([self])


def submit(
    job: BatchJob,
    system: BatchSystem | str | None = None,
    *,
    options: settings.JobOptions | None = None,
    patient: bool = False,
) -> Handle:
    """Submit a job.

    job:     its run_directory is set here
    system:  or its name; None: as configured, else the one that answers here
    options: where records are kept and how often the batch system may be asked; None: as configured
    patient: whether a job that may have been submitted is given back, too: whoever waits for it goes on to look for it
    Raises UsageError for what the system has no option for, BatchError if it refuses the job: the script is kept.
    UnclearError if it may have been submitted.
    """
    options = options or settings.load({})
    system = system if isinstance(system, BatchSystem) else registry.find_here(system)
    cleaning.tidy(options)
    record, job = store.create(job, system, options.state_directory)
    try:
        submit_record(system, record)
    except UnclearError as error:
        if not patient or system.search is None:
            raise
        warn(error.what, error.remedy, key=error.key)
    return Handle(record, seconds(options.poll_interval, "poll-interval"))


async def submit_async(
    job: BatchJob, system: BatchSystem | str | None = None, *, options: settings.JobOptions | None = None
) -> AsyncHandle:
    """Submit a job like `submit`, without blocking the event loop."""
    return AsyncHandle(await asyncio.to_thread(lambda: submit(job, system, options=options)))


def cancel(handles: Sequence[Handle]) -> None:
    """Cancel jobs, those of one batch system with one command.

    Raises BatchError if the batch system refuses, and what is still in the queue or runs is not cancelled. If a job's
    id is not known, none is cancelled.
    """
    cancel_records([handle.record for handle in handles])


def find(token: str, options: settings.JobOptions | None = None) -> Handle:
    """Return the job with this job id or run name; raises UsageError if none is on record."""
    options = options or settings.load({})
    return Handle(store.find(options.state_directory, token), seconds(options.poll_interval, "poll-interval"))


def jobs(options: settings.JobOptions | None = None) -> list[Handle]:
    """Return all jobs on record, the oldest first."""
    options = options or settings.load({})
    interval = seconds(options.poll_interval, "poll-interval")
    return [Handle(record, interval) for record in store.records(options.state_directory)]


class AsyncHandle:
    """A job that was submitted, for programs with an event loop: what asks the batch system is awaited."""

    def __init__(self, handle: Handle) -> None:
        self.handle = handle
        self.name, self.directory = handle.name, handle.directory

    @property
    def id(self) -> str:
        """The batch system's id of the job, the last one if it was submitted again."""
        return self.handle.id

    async def refresh(self) -> Standing:
        """Return what is known of the job."""
        return await asyncio.to_thread(self.handle.refresh)

    @property
    def state(self) -> JobState:
        """The job's state as it was known last; `refresh` asks."""
        return self.handle.record.standing.state

    @property
    def reason(self) -> str | None:
        """Why it waits or how it ended, as it was known last."""
        return self.handle.record.standing.reason

    async def wait(self, timeout: float | None = None) -> int | None:
        """Wait for the job's end like `Handle.wait`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not await asyncio.to_thread(self.handle.is_over, standing := await self.refresh()):
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"job {self.id} is {standing.state.value} after {timeout:g} s")
            await asyncio.sleep(_GLANCE)
        return standing.exit_status

    async def logs(self, rank: int | None = None) -> str:
        """Return what the job has printed so far, like `Handle.logs`."""
        return await asyncio.to_thread(self.handle.logs, rank)

    async def cancel(self) -> None:
        """Cancel the job like `Handle.cancel`."""
        await asyncio.to_thread(self.handle.cancel)
