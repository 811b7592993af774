"""The doctor as a batch job: submits it, reads status, log and findings, and cancels another job.

It is a process of its own, which `job` ends when its time is up.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
import time
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from mpidask.doctor import report, time_limit
from mpidask.doctor.finding import Finding, failure, ok, warning
from mpidask.doctor.measuring import end_in_time
from mpidask.doctor.probe import every
from mpidask.errors import MpidaskError
from mpidask.launch.watchdog.launcher_environment import TOKEN

if TYPE_CHECKING:
    from mpidask.batch.settings import JobOptions
    from mpidask.batch.submission.handles import Handle
    from mpidask.batch.system import BatchSystem

__all__ = ["FILE", "Job", "main"]

FILE = "doctor.json"  # in the run directory: what the doctor in the job has found

_WALLTIME = "5min"  # where none is given: short jobs start sooner
_CANCELLED = 15.0  # of 60 s, until a cancelled job has ended
_GLANCE = 0.5  # s


@dataclasses.dataclass(frozen=True)
class Job:
    """A job that the doctor has submitted.

    title:   what commands know it by
    is_left: whether somebody has to cancel it if nothing more is heard
    """

    title: str
    is_left: bool = True


def main() -> None:
    """Print a line of JSON for each finding and each job: the name of its class, and its fields."""
    end_in_time()
    for name in (TOKEN, time_limit.ALARM):
        os.environ.pop(name, None)  # jobs do not end with this process
    channel = os.dup(1)
    os.dup2(2, 1)
    asked = json.load(sys.stdin)
    for each in _through_a_job(_options(asked["options"]), asked["patience"], asked["probes"], asked["longer"]):
        os.write(channel, f"{json.dumps([type(each).__name__, dataclasses.asdict(each)])}\n".encode())


def _options(given: dict[str, object]) -> JobOptions:
    from mpidask.batch.settings import JobOptions

    values = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    return JobOptions(**values)  # type: ignore[arg-type]


def _through_a_job(
    options: JobOptions, patience: float, probes: Collection[str], longer: str
) -> Iterator[Finding | Job]:
    """Yield what is found of submitting, watching and cancelling jobs, and by the doctor in a job.

    options:  the job's
    patience: how many s the job may take to start and end; it goes on after them
    probes:   what the doctor in the job is to look at
    longer:   the command line with more patience
    """
    from mpidask.batch import registry

    deadline = time.monotonic() + patience
    try:
        system = registry.find_here(options.system)
        begun = time.monotonic()
        handle = _submit(options, system, "doctor", ("-m", "mpidask.cli", "doctor", *_words(probes)))
    except MpidaskError as error:
        yield _named("submit", failure(error.what, error.remedy))
        return
    yield Job(handle.title)
    yield _named("submit", ok(f"job {handle.title} is submitted within {time.monotonic() - begun:.1f} s"))
    yield from _cancelled(options, system)
    yield from _followed(handle, deadline, longer)
    yield Job(handle.title, is_left=False)


def _named(name: str, finding: Finding) -> Finding:
    return dataclasses.replace(finding, probe=f"batch.{name}")


def _words(probes: Collection[str]) -> list[str]:
    """Return the options of the doctor in the job."""
    chosen = [] if {*every()} <= {*probes} else [word for name in sorted(probes) for word in ("--probe", name)]
    return [*chosen, *time_limit.words()]


def _submit(options: JobOptions, system: BatchSystem, what: str, program: tuple[str, ...]) -> Handle:
    """Submit a job; raises an MpidaskError.

    what:    it is called after this
    program: the words after the interpreter
    """
    from mpidask import batch
    from mpidask.batch import settings
    from mpidask.options.loading import load

    asked = dataclasses.replace(options, walltime=options.walltime or _WALLTIME, job_name=f"mpidask-{what}")
    command = (*settings.interpreter(options.python), *program)
    job = settings.describe(asked, command, load({}).walltime_margin, None)
    return batch.submit(job, system, options=asked, patient=True)


def _cancelled(options: JobOptions, system: BatchSystem) -> Iterator[Finding | Job]:
    """Yield what comes of cancelling a job."""
    try:
        small = dataclasses.replace(options, nodes=1, ranks_per_node=1)
        handle = _submit(small, system, "cancel", ("-c", "import time; time.sleep(300)"))
    except MpidaskError as error:
        yield _named("cancel", failure(error.what, error.remedy))
        return
    yield Job(handle.title)
    found = _cancel(handle)
    yield _named("cancel", found)
    yield Job(handle.title, is_left=False)  # the finding says what to do


def _cancel(handle: Handle) -> Finding:
    """Cancel a job, and wait until it has ended."""
    begun = time.monotonic()
    try:
        handle.cancel()
        while not handle.refresh().state.ended:
            if time.monotonic() - begun > time_limit.share(_CANCELLED):
                state = handle.state.value
                return warning(
                    f"job {handle.title} is {state} {time_limit.share(_CANCELLED):g} s after it was cancelled",
                    f"look again with `mpidask status {handle.title}`; ask your site how jobs are cancelled",
                )
            time.sleep(_GLANCE)
    except MpidaskError as error:
        return _still_there(error, handle)
    return ok(f"job {handle.title} is cancelled within {time.monotonic() - begun:.1f} s")


def _still_there(error: MpidaskError, handle: Handle) -> Finding:
    """Return that something failed, and how to cancel the job that is there all the same."""
    return failure(error.what, "\n".join(filter(None, (error.remedy, f"mpidask cancel {handle.title}"))))


def _followed(handle: Handle, deadline: float, longer: str) -> Iterator[Finding]:
    """Yield what becomes of the doctor's job, and what it found."""
    try:
        while not (standing := handle.refresh()).final and time.monotonic() < deadline:
            time.sleep(_GLANCE)
    except MpidaskError as error:
        yield _named("status", _still_there(error, handle))
        return
    found = _of_the_job(handle)
    if not standing.state.ended and found is None:
        why = f": {standing.reason}" if standing.reason else ""
        yield _named("status", warning(f"job {handle.title} is {standing.state.value}{why}", _later(handle, longer)))
        return
    yield _named("status", ok(f"job {handle.title} is {standing.state.value}"))
    yield _named("logs", _log(handle))
    if found is None:
        said = f"the job has left no findings in {handle.directory}; its exit status is {standing.exit_status}"
        yield _named("status", failure(said, f"see whether it has printed them: mpidask logs {handle.title}"))
    else:
        yield from (dataclasses.replace(each, where=_place(each, handle)) for each in found)


def _later(handle: Handle, longer: str) -> str:
    return f"read later what it finds: mpidask logs {handle.title}\nor wait longer: {longer}"


def _of_the_job(handle: Handle) -> list[Finding] | None:
    """Return what the doctor in the job has found, None if it has not written that (yet)."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return [*report.read((handle.directory / FILE).read_text(encoding="utf-8"))[1]]
    return None


def _place(finding: Finding, handle: Handle) -> str:
    return f"job {handle.title}{f', {finding.where}' if finding.where else ''}"


def _log(handle: Handle) -> Finding:
    """Return whether the job's output is here."""
    try:
        text = handle.logs()
    except MpidaskError as error:
        return failure(error.what, error.remedy)
    if " doctor, " not in text:
        remedy = "see that the run directory is on a file system that the nodes share: --state-directory DIRECTORY"
        return warning(f"the job's log {handle.log()} lacks what the doctor prints", remedy)
    return ok(f"the job's log has {len(text.splitlines())} lines")
