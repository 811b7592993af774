"""Looking for jobs that may have been submitted by the paths of their files: their ids are not known."""

from __future__ import annotations

import contextlib
import re
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from mpidask.batch import registry
from mpidask.batch.commands import runner
from mpidask.batch.job_state import JobId, JobState
from mpidask.batch.queries.questions import (
    complains,
    listing_command,
    parse_answer,
    parse_search,
    query_commands,
    search_command,
)
from mpidask.batch.records.claims import Outcome
from mpidask.batch.records.record import Record
from mpidask.batch.status import Standing
from mpidask.batch.system import BatchSystem
from mpidask.errors import BatchError, MpidaskError

__all__ = ["APPEARS", "find_by_script", "is_possible", "nameless", "settle", "way"]

APPEARS = 30.0  # s in which a job that was submitted may not be listed yet
_LOOK_TAKES = 30.0  # s at most: a busy server may take that long


def find_by_script(
    system: BatchSystem, script: Path, name: str, where: tuple[str, ...], earlier: Sequence[JobId] = ()
) -> JobId | None:
    """Return the job with this script that is none of the earlier ones; None if the batch system lists none.

    Raises BatchError if it does not answer, or not in a way that tells.
    """
    question = search_command(system, name, where)
    if question is None or system.search is None:
        raise BatchError(
            f"{system.title} cannot be asked for a job by its script", f"look with `{way(system, name, where)}`"
        )
    # A destination may only be known once a job was taken there.
    besides = [job.id for job in earlier if job.where == where or not (job.where and where)]
    output = runner.run(question, _LOOK_TAKES)
    found = parse_search(system, output.stdout, script, besides)
    if found is not None:
        return JobId(found, where)
    several = not besides and f"{script.parent}/" in re.sub(r"\n\s*", "", output.stdout + output.stderr)
    rest = parse_answer(system, system.search, output.stdout)[1]
    if several or complains(system.status.absent, output.status, f"{rest}\n{output.stderr}"):
        raise BatchError(f"{system.title} did not tell whether it has the job\n{output.text}", "it will be asked again")
    return None


def settle(records: Sequence[Record], interval: float) -> None:
    """Look for jobs that may have been submitted; those that are found are on record then, with their ids.

    What the batch system does not list after a while, and what has left no sign of life, was not submitted.

    interval: s in which the batch system is asked about a job at most once
    """
    for record in records:
        doubt = record.doubt
        if doubt is None or 0 <= time.time() - doubt.looked < interval:
            continue
        doubt.note_looked()
        try:
            system = registry.find(record.system)
            found = find_by_script(system, record.script, record.job, doubt.where, record.known)
        except MpidaskError:  # no news
            continue
        with contextlib.suppress(OSError):  # a full disk: it is looked for again
            if found is not None:
                record.add_submission(found, doubt.since)
            elif time.time() - doubt.since > APPEARS and record.execution is None:
                doubt.settle(Outcome.VOID)


def is_possible(record: Record) -> bool:
    """Whether the batch system of a job can be asked for it without its id."""
    return registry.find(record.system).search is not None


def way(system: BatchSystem, name: str, where: Sequence[str]) -> str:
    """Return the command with which a user sees whether a job is in the queue."""
    question = search_command(system, name, where)
    asked = [question] if question is not None else query_commands(system, system.status, ["ID"], where)
    if question is None and system.listing:
        asked = [listing_command(system, name)]
    return "; ".join(shlex.join(each.argv) for each in asked)


def nameless(record: Record) -> Standing:
    """Return what is known of a job without an id: from the files that it has left, or that we have."""
    exited = record.exited
    if exited is not None:
        state = JobState.DONE if exited == 0 else JobState.CANCELLED if record.cancelled else JobState.FAILED
        return Standing(id="", state=state, exit_status=exited, final=True, reason="its job id is not known")
    if record.execution is not None:
        return Standing(id="", state=JobState.RUNNING, reason="its job id is not known")
    doubt = record.doubt
    if doubt is not None:
        words = f"may have been submitted: look with `{way(registry.find(record.system), record.job, doubt.where)}`"
        return Standing(id="", state=JobState.UNKNOWN, reason=words)
    if record.claimed is not None:
        return Standing(id="", state=JobState.PENDING, reason="it is being submitted")
    reason = "the batch system refused it" if record.refused else "the batch system does not list it"
    return Standing(id="", state=JobState.FAILED, reason=f"{reason}: it was not submitted", final=True)
