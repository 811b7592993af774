"""What can be found out here about the batch system: its queues, and who pays by default."""

from __future__ import annotations

import dataclasses
import re

from mpidask import job_environment
from mpidask.batch.commands import runner
from mpidask.batch.commands.command import Command, filled_words
from mpidask.batch.registry import find_here
from mpidask.batch.system import BatchSystem
from mpidask.batch.template import Line
from mpidask.errors import BatchError

__all__ = ["Survey", "look"]

_LONGEST = 10.0  # s for each command


@dataclasses.dataclass(frozen=True)
class Survey:
    """What was found.

    default: the queue that jobs go to if they name none
    """

    system: BatchSystem
    queues: tuple[str, ...] = ()
    default: str | None = None
    account: str | None = None


def look(name: str | None = None) -> Survey:
    """Return what the named batch system, or the one here, tells; what it does not tell is left out.

    Raises UsageError or BatchError if there is no such system, or one that is silent.
    """
    system = find_here(name)
    rows = list(re.finditer(system.queue_row, _printed(system.queue_list), re.MULTILINE)) if system.queue_row else []
    default = next((row["name"] for row in rows if row.groupdict().get("default")), None)
    account = _printed(system.account_of).strip().splitlines()[:1]
    return Survey(system, tuple(row["name"] for row in rows), default, account[0] if account and account[0] else None)


def _printed(line: Line) -> str:
    """Return what a command prints; nothing for none, and for one that fails."""
    if not line:
        return ""
    try:
        output = runner.run(Command(argv=filled_words(line, {"user": job_environment.account()})), _LONGEST)
    except BatchError:
        return ""
    return output.stdout if output.status == 0 else ""
