"""One attempt to submit a job: it was taken, refused, or that is not clear."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from mpidask.batch.commands import runner
from mpidask.batch.commands.command import Command
from mpidask.batch.job_state import JobId
from mpidask.batch.queries import lookup
from mpidask.batch.records.claims import Outcome
from mpidask.batch.records.record import Record
from mpidask.batch.scripts.submit_command import chosen_destination, excluded_variables
from mpidask.batch.system import BatchSystem
from mpidask.errors import BatchError, MpidaskError, SilenceError, UnclearError

__all__ = ["ClaimedError", "check_resubmission", "run_submit", "submit_record"]

_LOOKS = (0.0, 2.0, 5.0)  # s before each look for a job that may have been submitted


class ClaimedError(UnclearError):
    """Another process is submitting the job again."""


def submit_record(system: BatchSystem, record: Record) -> None:
    """Submit a job on record; whoever comes while this goes on, or after it was interrupted, sees that."""
    claim = record.claim(
        chosen_destination(system, record.command, _read(record.command, record.script), os.environ, "")
    )
    if claim is None:
        raise ClaimedError(
            f"another process submits job {record.id} again", f"`mpidask status {record.name}` shows what became of it"
        )
    try:
        if record.submissions:
            check_resubmission(record)  # it may have been cancelled meanwhile
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
    where = chosen_destination(system, command, text, os.environ, "")
    assignments = [value for each, value in zip(system.destinations, where, strict=False) if each.assigns and value]
    command = dataclasses.replace(command, without=excluded_variables(system, text)).within(assignments)
    try:
        output = runner.run(
            command, directory=directory, enough=lambda text: system.parse_job_id(_whole_lines(text)) is not None
        )
    except SilenceError as silence:
        return _find_unanswered(system, script, name, where, earlier, silence.what)
    job_id = system.parse_job_id(output.stdout if output.status == 0 else _whole_lines(output.stdout))
    words = system.refusal(output.stderr + output.stdout) if output.status != 0 or job_id is None else None
    if job_id is not None and words is None:  # whatever went wrong afterwards
        return JobId(job_id, chosen_destination(system, command, text, os.environ, output.stdout))
    if words is None and _unclear(system, output):
        return _find_unanswered(system, script, name, where, earlier, output.text)
    raise BatchError(
        f"{system.title} did not take the job{': ' if words else ''}{words or ''}\n{output.text}\nscript: {script}",
        "" if words else "the batch system's own words are above; the script is kept",
    )


def _whole_lines(text: str) -> str:
    """Return a text without a last line that was cut off: half of a job's id is another job's."""
    return text[: text.rfind("\n") + 1]


def _unclear(system: BatchSystem, output: runner.Output) -> bool:
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
                sys.stderr.write(f"mpidask: {system.title} did not say that it has taken the job; it has: {found}\n")
                return found
    raise UnclearError(
        f"the job may have been submitted: {system.title} did not say so in a way that is understood\n{heard}\n"
        f"script: {script}",
        f"see whether it is in the queue before you submit it again: {lookup.way(system, name, where)}",
    )


def check_resubmission(record: Record) -> None:
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
