"""What one command submits: jobs with consecutive numbers, as one job or a job array."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

from mpidask.batch.commands.command import Command
from mpidask.batch.job import BatchJob
from mpidask.batch.scripts.job_fields import fields_of
from mpidask.batch.scripts.submit_command import submit_command_of
from mpidask.batch.system import BatchSystem
from mpidask.errors import BatchError
from mpidask.files import replace
from mpidask.jobqueue.jobs.spec import JobRange, JobSpec
from mpidask.jobqueue.jobs.tracked_job import TrackedJob
from mpidask.jobqueue.jobs.walltime import walltime_seconds

__all__ = ["Prepared", "consecutive_jobs", "prepare"]

_ARRAY = 500  # jobs in a job array; sites allow 1000 or more


def consecutive_jobs(jobs: Sequence[TrackedJob]) -> Iterator[list[TrackedJob]]:
    """Yield jobs that differ in nothing but their numbers, which are consecutive."""
    ordered = sorted(jobs, key=lambda job: job.number)
    for _, group in itertools.groupby(enumerate(ordered), key=lambda pair: (pair[1].kind, pair[1].number - pair[0])):
        found = [job for _, job in group]
        for start in range(0, len(found), _ARRAY):
            yield found[start : start + _ARRAY]


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What is ready to be submitted: the command, and the script with its text."""

    command: Command
    script: Path
    text: str


def prepare(system: BatchSystem, jobs: Sequence[TrackedJob], directory: Path, further: Sequence[str]) -> Prepared:
    """Write the script of jobs with consecutive numbers; return what submits them.

    directory: the cluster's
    further:   further words of the submit command
    Raises BatchError if the script cannot be written.
    """
    first = jobs[0]
    count = len(jobs) if len(jobs) > 1 else None
    spec = _numbered(first, count)
    text = first.text(spec, JobRange(directory, first.number, count))
    logs = spec.keywords["log_directory"]
    try:
        script = _written(directory / str(first.number), text)
        if logs:
            Path(logs).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BatchError(
            f"the job script cannot be written: {error}",
            "see to the quota, or name another place: mpidask.batch.state-directory in the configuration",
        ) from None
    command = submit_command_of(system, text, _fields(system, spec, script))
    command = dataclasses.replace(command, argv=first.submit_words(command.argv, script))
    return Prepared(command.further(further), script, text)


def _numbered(job: TrackedJob, count: int | None) -> JobSpec:
    """Return what a job asks for; for a job array the worker's name has the number of each job."""
    name = str(job.name)
    if count is not None and name.endswith(f"-{job.number}"):
        name = name.removesuffix(str(job.number)) + "{job}"
    return dataclasses.replace(job.spec, name=name)


def _written(directory: Path, text: str) -> Path:
    """Write a job script; raises OSError."""
    directory.mkdir(mode=0o700, exist_ok=True)
    script = directory / "job.sh"
    replace(str(script), text)
    script.chmod(0o700)
    return script


def _fields(system: BatchSystem, spec: JobSpec, script: Path) -> dict[str, object]:
    seconds = walltime_seconds(system, spec.keywords.get("walltime"))
    fields = fields_of(system, BatchJob(command=("true",), run_directory=script.parent), script)
    return {**fields, "walltime": None if seconds is None else timedelta(seconds=seconds)}
