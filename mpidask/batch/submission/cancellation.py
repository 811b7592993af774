"""Cancelling jobs on record."""

from __future__ import annotations

import time
from collections.abc import Sequence

from mpidask.batch import registry
from mpidask.batch.commands import runner
from mpidask.batch.commands.command import Command
from mpidask.batch.queries import lookup, monitor
from mpidask.batch.queries.questions import cancel_commands
from mpidask.batch.records.record import Record
from mpidask.batch.status import Standing
from mpidask.errors import BatchError, UnclearError

__all__ = ["cancel_records"]

_ENDINGS = (0.0, 1.0, 2.0, 3.0)  # s before each look whether a job is left that could not be cancelled


def cancel_records(records: Sequence[Record]) -> None:
    """Cancel jobs, those of one batch system with one command.

    Raises BatchError if the batch system refuses, and what is still in the queue or runs is not cancelled. If a job's
    id is not known, none is cancelled.
    """
    for record in records:
        _check_identity(record)
    failed: list[str] = []
    for name in sorted({record.system for record in records}):
        mine = [record for record in records if record.system == name]
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
        output = runner.run(command)
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
