"""Submitting a job, and what one holds in hand afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from mpidask import run_directory
from mpidask.batch import cleaning, commands, lookup, monitor, records, registry, settings
from mpidask.batch.command import Command
from mpidask.batch.job import Job
from mpidask.batch.job_state import JobId, JobState
from mpidask.batch.queries import cancel_commands
from mpidask.batch.records import Outcome, Record
from mpidask.batch.status import Standing
from mpidask.batch.submit_command import excluded_variables, place_of_submission
from mpidask.batch.system import BatchSystem
from mpidask.errors import BatchError, MpidaskError, SilenceError, UnclearError, UsageError, WalltimeError
from mpidask.quantities import seconds

__all__ = ["AsyncHandle", "Handle", "find", "jobs", "resubmit", "run_submit", "submit", "submit_async"]

_GLANCE = 0.3  # s between two looks at a file
_LOOKS = (0.0, 2.0, 5.0)  # s before each look for a job that may have been submitted
_ENDINGS = (0.0, 1.0, 2.0, 3.0)  # s before each look whether a job is left that could not be cancelled
_PATIENCE = 60.0  # s in which a job that may have been submitted is looked for before it is submitted again
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
        """The job id, as the batch system gave it; with ``@PLACE`` where jobs were submitted to a place of choice."""
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
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        for standing in self.follow():
            if standing.state.ended and standing.final:
                return standing.exit_status
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"job {self.title} is {standing.state.value} after {timeout:g} s")
        raise AssertionError("unreachable")

    def follow(self) -> Iterator[Standing]:
        """Yield what is known of the job, a few times a second, to the end."""
        while True:
            standing = self.refresh()
            yield standing
            if standing.final and self.record.id == standing.id and not self._again(standing):
                return
            time.sleep(_GLANCE)

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
    job: Job,
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
    record, job = records.create(job, system, options.state_directory)
    try:
        _submit(system, record)
    except UnclearError as error:
        if not patient or system.search is None:
            raise
        sys.stderr.write(error.text().replace("error: ", "warning: ", 1))
    return Handle(record, seconds(options.poll_interval, "poll-interval"))


async def submit_async(
    job: Job, system: BatchSystem | str | None = None, *, options: settings.JobOptions | None = None
) -> AsyncHandle:
    """Submit a job like `submit`, without blocking the event loop."""
    return AsyncHandle(await asyncio.to_thread(lambda: submit(job, system, options=options)))


class ClaimedError(UnclearError):
    """Another process is submitting the job again."""


def resubmit(directory: Path) -> tuple[Record, str]:
    """Submit a job again, as it was; return its record and the new job id.

    Job script and followers may all want to: the first one claims it. Where that one was interrupted the job is looked
    for before it is submitted. Raises BatchError if the job was submitted as often as it may be, was cancelled, or is
    refused; UnclearError if it was, or may have been, submitted again already.
    """
    try:
        record = records.read(directory)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{directory} is not a run directory: {error}", "give that of a job on record") from None
    before = record.identity
    _settle(record)
    if record.identity != before:
        raise ClaimedError(
            f"job {before} was submitted again already: job {record.id}", f"`mpidask status {record.name}` shows it"
        )
    _check_resubmission(record)
    _submit(registry.find(record.system), record)
    return record, record.id


def _settle(record: Record) -> None:
    """Find out whether a job was submitted again by a process that was interrupted, or did not get an answer."""
    while (doubt := record.doubt) is not None and lookup.is_possible(record):
        lookup.settle([record], 0.0)
        if record.doubt is None or time.time() - doubt.since > _PATIENCE:
            return
        time.sleep(_LOOKS[-1])


def _check_resubmission(record: Record) -> None:
    """Raise BatchError or UnclearError for a job that may not be submitted again."""
    if record.cancel_asked:
        raise BatchError(f"job {record.id} was cancelled", "submit it anew: mpidask submit")
    if record.doubt is not None:
        raise UnclearError(
            f"job {record.id} may have been submitted again already", f"look for it: mpidask status {record.name}"
        )
    if len(record.submissions) > record.requeue:
        raise BatchError(
            f"the job was submitted {len(record.submissions)} times, which is the limit",
            "submit it with a longer --walltime or a higher --requeue-limit",
        )


def _submit(system: BatchSystem, record: Record) -> None:
    """Submit a job on record; whoever comes while this goes on, or after it was interrupted, sees that."""
    claim = record.claim(
        place_of_submission(system, record.command, _read(record.command, record.script), os.environ, "")
    )
    if claim is None:
        raise ClaimedError(
            f"another process submits job {record.id} again", f"`mpidask status {record.name}` shows what became of it"
        )
    try:
        if record.submissions:
            _check_resubmission(record)  # it may have been cancelled meanwhile
            record.forget_exit()
        # A job that submits itself again is elsewhere.
        job_id = run_submit(system, record.command, record.script, record.origin, record.job, record.known)
    except UnclearError as error:  # nobody may try again
        claim.settle(Outcome.UNCLEAR)
        raise UnclearError(error.what, f"`mpidask status {record.name}` looks for it; {error.remedy}") from None
    except MpidaskError:  # not for others, such as a full disk: the job may have been taken
        claim.settle(Outcome.VOID)
        if not record.cancel_asked:
            record.note_refused()
        raise
    record.add_submission(job_id)


def _read(command: Command, script: Path) -> str:
    """Return what a submit command reads."""
    return command.stdin or script.read_text(encoding="utf-8", errors="replace")


def run_submit(
    system: BatchSystem,
    command: Command,
    script: Path,
    directory: str | None = None,
    name: str = "mpidask",
    earlier: Sequence[JobId] = (),
) -> JobId:
    """Run a command that submits a job; return which job it is.

    script: the job script, by which the job is found if the answer does not tell its id
    name:   the job's name
    earlier: jobs that this script was submitted as before
    Raises BatchError with command, exit status and output if the batch system refuses, UnclearError if it may have
    taken the job.
    """
    text = _read(command, script)
    where = place_of_submission(system, command, text, os.environ, "")
    assignments = [value for place, value in zip(system.places, where, strict=False) if place.assigns and value]
    command = dataclasses.replace(command, without=excluded_variables(system, text)).within(assignments)
    try:
        output = commands.run(
            command, directory=directory, enough=lambda text: system.parse_job_id(_whole_lines(text)) is not None
        )
    except SilenceError as silence:
        return _find_unanswered(system, script, name, where, earlier, silence.what)
    job_id = system.parse_job_id(output.stdout if output.status == 0 else _whole_lines(output.stdout))
    words = system.refusal(output.stderr + output.stdout) if output.status != 0 or job_id is None else None
    if job_id is not None and words is None:  # whatever went wrong afterwards
        return JobId(job_id, place_of_submission(system, command, text, os.environ, output.stdout))
    if words is None and _unclear(system, output):
        return _find_unanswered(system, script, name, where, earlier, output.text)
    raise BatchError(
        f"{system.title} did not take the job{': ' if words else ''}{words or ''}\n{output.text}\nscript: {script}",
        "" if words else "the batch system's own words are above; the script is kept",
    )


def _whole_lines(text: str) -> str:
    """Return a text without a last line that was cut off: half of a job's id is another job's."""
    return text[: text.rfind("\n") + 1]


def _unclear(system: BatchSystem, output: commands.Output) -> bool:
    """Whether a submit command that gave no id may have submitted the job: it says so, or was cut off."""
    return output.status <= 0 or re.search(system.unclear, output.stderr + output.stdout) is not None


def _find_unanswered(
    system: BatchSystem, script: Path, name: str, where: tuple[str, ...], earlier: Sequence[JobId], heard: str
) -> JobId:
    """Return a job whose submission was not answered in a way that is understood; raises UnclearError."""
    for pause in _LOOKS if system.search is not None else ():
        time.sleep(pause)
        with contextlib.suppress(BatchError):
            found = lookup.find_by_script(system, script, name, where, earlier)
            if found is not None:
                sys.stderr.write(f"mpidask: {system.title} did not say that it has taken the job; it has: {found.id}\n")
                return found
    raise UnclearError(
        f"the job may have been submitted: {system.title} did not say so in a way that is understood\n{heard}\n"
        f"script: {script}",
        f"see whether it is in the queue before you submit it again: {lookup.way(system, name, where)}",
    )


def cancel(handles: list[Handle]) -> None:
    """Cancel jobs, those of one batch system with one command.

    Raises BatchError if the batch system refuses, and what is still in the queue or runs is not cancelled. If a job's
    id is not known, none is cancelled.
    """
    for handle in handles:
        _check_identity(handle.record)
    failed: list[str] = []
    for name in sorted({handle.record.system for handle in handles}):
        mine = [handle.record for handle in handles if handle.record.system == name]
        for record in mine:
            record.note_cancelled()
        system = registry.find(name)
        words = list(
            filter(None, (_failure(each) for each in cancel_commands(system, (each.identity for each in mine))))
        )
        if words and (left := _left(mine)):
            for record in left:
                record.forget_cancelled()
            named = ", ".join(record.id for record in left)
            failed.append("\n".join([f"{system.title} did not cancel the jobs: {named}", *words]))
    if failed:
        raise BatchError("\n".join(failed), "its own words are above")


def _check_identity(record: Record) -> None:
    """Raise BatchError for a job whose id is not known."""
    doubt = record.doubt
    if doubt is not None:
        looks = lookup.way(registry.find(record.system), record.job, doubt.where)
        raise UnclearError(
            f"job {record.name} may have been submitted, under an id that is not known: it is not cancelled",
            f"look with `{looks}` and cancel it there, or try again: mpidask cancel {record.name}",
        )
    if not record.id:
        busy = record.claimed is not None
        raise BatchError(
            f"job {record.name} {'is being' if busy else 'was not'} submitted: it is not cancelled",
            f"mpidask {'cancel' if busy else 'status'} {record.name}",
        )


def _failure(command: Command) -> str | None:
    """Run a command; return how it failed, None if it did not."""
    try:
        output = commands.run(command)
    except BatchError as error:
        return error.what
    return output.text if output.status != 0 else None


def _left(mine: Sequence[Record]) -> list[Record]:
    """Return which jobs are left some seconds after a cancel command failed: it does for one that has just ended."""
    left = list(mine)
    for pause in _ENDINGS:
        time.sleep(pause)
        standings = monitor.look(left, 0.0)
        left = [each for each in left if not _is_gone(standings[each.name])]
        if not left:
            break
    return left


def _is_gone(standing: Standing) -> bool:
    return standing.state.ended or standing.absent is not None


def find(token: str, options: settings.JobOptions | None = None) -> Handle:
    """Return the job with this job id or run name; raises UsageError if none is on record."""
    options = options or settings.load({})
    return Handle(records.find(options.state_directory, token), seconds(options.poll_interval, "poll-interval"))


def jobs(options: settings.JobOptions | None = None) -> list[Handle]:
    """Return all jobs on record, the oldest first."""
    options = options or settings.load({})
    interval = seconds(options.poll_interval, "poll-interval")
    return [Handle(record, interval) for record in records.records(options.state_directory)]


class AsyncHandle:
    """A job that was submitted, for programs with an event loop: what asks the batch system is awaited."""

    def __init__(self, handle: Handle) -> None:
        self.handle = handle
        self.id, self.name, self.directory = handle.id, handle.name, handle.directory

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
        while not (standing := await self.refresh()).final:
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
