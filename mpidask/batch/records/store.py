"""All jobs on record: makes run directories, reads them and finds the one that is meant."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from mpidask import configuration, quantities
from mpidask.batch.commands.command import Command
from mpidask.batch.job import BatchJob
from mpidask.batch.job_state import JobId
from mpidask.batch.records.record import SCRIPT, Record
from mpidask.batch.scripts.submit_command import job_script, submit_command
from mpidask.batch.system import BatchSystem
from mpidask.errors import BatchError, UsageError
from mpidask.files import is_ours, make_private, replace, replace_json

__all__ = ["create", "find", "home", "planned", "read", "records"]

_RECORD = "record.json"


def create(job: BatchJob, system: BatchSystem, state_directory: str | None) -> tuple[Record, BatchJob]:
    """Make the run directory of a job with its script; return the record and the job as it is to be submitted.

    Raises UsageError for what the system cannot carry, BatchError if the directory cannot be written.
    """
    job = planned(job, state_directory)
    directory = home(state_directory) / str(job.run_directory)
    text = job_script(system, job)
    command = submit_command(system, job, directory / SCRIPT)
    record = Record(
        directory=directory,
        system=system.name,
        job=job.name,
        origin=quantities.working_directory(),
        words=job.command,
        nodes=job.resources.nodes,
        ranks=job.resources.ranks,
        walltime=None if job.walltime is None else job.walltime.total_seconds(),
        requeue=job.requeue,
        command=command,
    )
    try:
        make_private(directory.parent)
        directory.mkdir(mode=0o700)
        replace(str(record.script), text)
        record.script.chmod(0o700)
        _write(record)
    except OSError as error:
        raise BatchError(
            f"the run directory {directory} cannot be written: {error.strerror}",
            "name another place that the nodes share with --state-directory",
        ) from None
    return record, job


def planned(job: BatchJob, state_directory: str | None) -> BatchJob:
    """Return a job with a run directory, which is not made yet; raises UsageError for a place that cannot be used."""
    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    return dataclasses.replace(job, run_directory=home(state_directory) / f"{stamp}-{job.name}-{secrets.token_hex(2)}")


def records(state_directory: str | None) -> list[Record]:
    """Return all jobs that are on record, the oldest first."""
    return sorted(
        _all(home(state_directory)), key=lambda record: ((record.submissions or [(JobId(""), 0.0)])[0][1], record.name)
    )


def find(state_directory: str | None, token: str) -> Record:
    """Return the job with this job id or run name (or the beginning of one); raises UsageError."""
    every = records(state_directory)
    by_id = [record for record in every if _typed(token) in [_typed(str(job)) for job in record.known]]
    by_name = [record for record in every if record.name == token]
    by_number = [record for record in every if token in [job.id for job, _ in record.submissions]]
    found = by_id or by_name or by_number or [each for each in every if each.identity.id.split(".")[0] == token]
    if not found:
        raise UsageError(f"there is no job {token!r} on record", "`mpidask status --all` lists those that there are")
    return found[-1]  # batch systems begin again with their ids; the latest is meant


def _typed(job_id: str) -> str:
    """Return a job id in the one spelling of those that users copy: sbatch prints 100;far, and flux may print ƒ2x."""
    return job_id.replace(";", "@").replace("ƒ", "f")


def _all(home: Path) -> Iterator[Record]:
    for directory in entries(home):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # half written, or not ours
            if is_ours(directory):
                yield read(directory)


def entries(home: Path) -> list[Path]:
    """Return what is in a directory of records, by name; raises UsageError if it may not be read."""
    try:
        return sorted(home.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UsageError(
            f"the records in {home} cannot be read: {error.strerror}",
            f"see whose they are: ls -ld {home}; or name another place with --state-directory",
        ) from None


def home(state_directory: str | None, kind: str = "jobs") -> Path:
    """Return where records of a kind are kept; raises UsageError for a place that batch systems cannot cope with."""
    state = (
        state_directory
        or configuration.section("batch").get("state-directory")
        or configuration.section("batch").get("state_directory")
    )
    default = os.path.join(os.environ.get("XDG_STATE_HOME") or "~/.local/state", "mpidask")
    named = quantities.path(str(state), "state-directory") if state else os.path.expanduser(default)
    if named.startswith("~"):
        raise UsageError(
            "this account has no home directory here, where records of jobs are kept",
            "set HOME, or name another place: export DASK_MPIDASK__BATCH__STATE_DIRECTORY=/path",
        )
    place = Path(os.path.abspath(named)) / kind
    if any(character.isspace() for character in str(place)):
        raise UsageError(
            f"the state directory's path has blanks: {str(place)!r}",
            "batch systems cannot cope with these; name another one with --state-directory",
        )
    return place


def _write(record: Record) -> None:
    content = dataclasses.asdict(record)
    del content["directory"]
    replace_json(str(record.directory / _RECORD), content)


def read(directory: Path) -> Record:
    """Return the record in a run directory; raises OSError, ValueError, KeyError or TypeError if there is none."""
    content: dict[str, Any] = dict(json.loads((directory / _RECORD).read_text()))
    command = content.pop("command")
    return Record(
        directory=directory,
        command=Command(argv=tuple(command["argv"]), stdin=command["stdin"]),
        **{**content, "words": tuple(content["words"])},
    )
