"""What the batch system accounts of a job that has ended."""

from __future__ import annotations

import re

from mpidask.batch import registry
from mpidask.batch.commands import runner
from mpidask.batch.commands.command import Command, filled_words
from mpidask.batch.job_state import JobId
from mpidask.batch.queries.questions import at_destination
from mpidask.batch.records.record import Record
from mpidask.batch.system import BatchSystem
from mpidask.errors import BatchError

__all__ = ["ask", "command", "parse"]

_TIMEOUT = 20.0  # s; a report does without where accounting is slow
_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def ask(record: Record) -> dict[str, float]:
    """Return what the batch system accounts of a job, by name: s, bytes; nothing where it does not tell."""
    system = registry.find(record.system)
    asked = command(system, record.identity)
    if asked is None:
        return {}
    try:
        return parse(system, runner.run(asked, timeout=_TIMEOUT).stdout)
    except BatchError:
        return {}


def command(system: BatchSystem, job: JobId) -> Command | None:
    """Return the command that tells it; None if there is none."""
    if system.accounting is None or not job.id:
        return None
    fields = {"id": job.id, "ids": [job.id], "id_list": job.id}
    words = filled_words(system.accounting.command, fields)
    return at_destination(system, Command(argv=words, without=system.ignored), job.where)


def parse(system: BatchSystem, output: str) -> dict[str, float]:
    """Return what such an output tells (pure)."""
    assert system.accounting is not None
    found = {
        name: (sum if name in system.accounting.added else max)(map(_value, texts))
        for name, pattern in system.accounting.figures.items()
        if (texts := re.findall(pattern, output, re.MULTILINE))
    }
    return {name: value for name, value in found.items() if value}


def _value(text: str) -> float:
    """Return a time such as 1-02:03:04 or 03:04.5 in s, a size such as 12K or 34kb in bytes, or a number."""
    days, _, rest = text.rpartition("-")
    if ":" in rest:
        seconds = 0.0
        for part in rest.split(":"):
            seconds = 60 * seconds + float(part)
        return 86400 * int(days or 0) + seconds
    number = re.match(r"[\d.]+", text)
    unit = text[number.end() :].lower().removesuffix("b") if number else ""
    return float(number[0]) * _UNITS.get(unit, 1) if number else 0.0
