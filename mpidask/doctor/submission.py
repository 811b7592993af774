"""The doctor as a batch job: submits it, reads status, log and findings, and cancels another job."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from mpidask.doctor import report, time_limit
from mpidask.doctor.finding import Finding, failure, ok, warning
from mpidask.doctor.probe import every
from mpidask.errors import MpidaskError

if TYPE_CHECKING:
    from mpidask.batch.settings import JobOptions
    from mpidask.batch.submission.handles import Handle
    from mpidask.batch.system import BatchSystem

__all__ = ["FILE", "through_a_job"]

FILE = "doctor.json"  # in the run directory: what the doctor in the job has found

_WALLTIME = "5min"  # where none is given: short jobs start sooner
_CANCELLED = 15.0  # of 60 s, until a cancelled job has ended
_GLANCE = 0.5  # s


def through_a_job(options: JobOptions, seconds: float, probes: Collection[str]) -> Iterator[Finding]:
    """Yield what is found of submitting, watching and cancelling jobs, and by the doctor in a job.

    options: the job's
    seconds: how long the job may take to start and end; it goes on after them
    probes:  what the doctor in the job is to look at
    """
    from mpidask.batch import registry

    deadline = time.monotonic() + seconds
    try:
        system = registry.find_here(options.system)
        begun = time.monotonic()
        handle = _submit(options, system, "doctor", ("-m", "mpidask.cli", "doctor", *_words(probes)))
    except MpidaskError as error:
        yield _named("submit", failure(error.what, error.remedy))
        return
    yield _named("submit", ok(f"job {handle.title} is submitted within {time.monotonic() - begun:.1f} s"))
    yield _named("cancel", _cancelled(options, system))
    yield from _followed(handle, deadline)


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


def _cancelled(options: JobOptions, system: BatchSystem) -> Finding:
    """Return what came of cancelling a job."""
    try:
        small = dataclasses.replace(options, nodes=1, ranks_per_node=1)
        handle = _submit(small, system, "cancel", ("-c", "import time; time.sleep(300)"))
        begun = time.monotonic()
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
        return failure(error.what, error.remedy)
    return ok(f"job {handle.title} is cancelled within {time.monotonic() - begun:.1f} s")


def _followed(handle: Handle, deadline: float) -> Iterator[Finding]:
    """Yield what becomes of the doctor's job, and what it found."""
    try:
        while not (standing := handle.refresh()).final and time.monotonic() < deadline:
            time.sleep(_GLANCE)
    except MpidaskError as error:
        yield _named("status", failure(error.what, error.remedy))
        return
    found = _of_the_job(handle)
    if not standing.state.ended and found is None:
        why = f": {standing.reason}" if standing.reason else ""
        yield _named("status", warning(f"job {handle.title} is {standing.state.value}{why}", _later(handle)))
        return
    yield _named("status", ok(f"job {handle.title} is {standing.state.value}"))
    yield _named("logs", _log(handle))
    if found is None:
        said = f"the job has left no findings; its exit status is {standing.exit_status}"
        yield _named("status", failure(said, f"mpidask logs {handle.title}"))
    else:
        yield from (dataclasses.replace(each, where=_place(each, handle)) for each in found)


def _later(handle: Handle) -> str:
    longer = "mpidask doctor --submit --patience 10min"
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
