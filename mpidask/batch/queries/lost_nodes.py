"""Which nodes a job has lost: most batch systems say only that there was one."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mpidask.batch.commands import runner
from mpidask.batch.commands.command import Command, filled_words
from mpidask.batch.job_state import JobId
from mpidask.batch.queries.questions import at_destination
from mpidask.batch.system import BatchSystem
from mpidask.errors import BatchError

__all__ = ["look"]

_TIMEOUT = 20.0  # s; which node it was is no more than a help


def look(system: BatchSystem, job: JobId, hosts: Sequence[str], printed: str) -> tuple[str, ...]:
    """Return the nodes that a job's output names as lost, else those of its nodes that are down now.

    hosts:   the job's nodes, as far as they are known
    printed: the end of its output
    """
    named = re.findall(system.lost, printed, re.MULTILINE) if system.lost else []
    return tuple(dict.fromkeys(named)) or _down(system, job, hosts)


def _down(system: BatchSystem, job: JobId, hosts: Sequence[str]) -> tuple[str, ...]:
    if system.down is None or not hosts:
        return ()
    command = Command(argv=filled_words(system.down.command, {}), without=system.ignored)
    try:
        output = runner.run(at_destination(system, command, job.where), timeout=_TIMEOUT).stdout
    except BatchError:
        return ()
    down = {_short(row["id"]) for row in re.finditer(system.down.row, output, re.MULTILINE)}
    return tuple(host for host in hosts if _short(host) in down)


def _short(host: str) -> str:
    return host.partition(".")[0]
