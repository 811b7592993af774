"""Submitting a job again that the walltime has ended."""

from __future__ import annotations

import time
from pathlib import Path

from mpidask.batch import registry
from mpidask.batch.queries import lookup
from mpidask.batch.records import store
from mpidask.batch.records.record import Record
from mpidask.batch.submission.attempt import ClaimedError, check_resubmission, submit_record
from mpidask.errors import UsageError

__all__ = ["resubmit"]

_PAUSE = 5.0  # s between two looks for a job that may have been submitted
_PATIENCE = 60.0  # s in which it is looked for before it is submitted again


def resubmit(directory: Path) -> tuple[Record, str]:
    """Submit a job again, as it was; return its record and the new job id.

    Job script and followers may all want to: the first one claims it. Where that one was interrupted the job is looked
    for before it is submitted. Raises BatchError if the job was submitted as often as it may be, was cancelled, or is
    refused; UnclearError if it was, or may have been, submitted again already.
    """
    try:
        record = store.read(directory)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{directory} is not a run directory: {error}", "give that of a job on record") from None
    before = record.identity
    _settle(record)
    if record.identity != before:
        raise ClaimedError(
            f"job {before} was submitted again already: job {record.id}", f"`mpidask status {record.name}` shows it"
        )
    check_resubmission(record)
    submit_record(registry.find(record.system), record)
    return record, record.id


def _settle(record: Record) -> None:
    """Find out whether a job was submitted again by a process that was interrupted, or did not get an answer."""
    while (doubt := record.doubt) is not None and lookup.is_possible(record):
        lookup.settle([record], 0.0)
        if record.doubt is None or time.time() - doubt.since > _PATIENCE:
            return
        time.sleep(_PAUSE)
