"""Where a report comes from and goes to: finds the record, writes the page."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from mpidask.errors import UsageError
from mpidask.files import replace
from mpidask.report import record as records
from mpidask.report import start
from mpidask.report.advice import advise
from mpidask.report.closing import closing_lines
from mpidask.report.page import page
from mpidask.report.quantity import amount, duration
from mpidask.report.record import Record
from mpidask.report.summary import Summary, summarize

__all__ = ["Source", "write"]


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a record is, and what others know of its run.

    path:      of a directory with records, or of one of them
    ended:     how the job ended, in the batch system's words
    goes_on:   whether the run does; None if that is not known
    accounted: what the batch system accounts: wall and cpu (s), memory (bytes), and what else it tells, by name
    """

    path: str
    ended: str | None = None
    accounted: Mapping[str, float] = dataclasses.field(default_factory=dict)
    goes_on: bool | None = None

    def record(self) -> Record:
        """Return the newest record; raises UsageError if there is none."""
        if not os.path.isdir(self.path):
            return _read(self.path)
        for path in reversed(records.find(self.path)):
            if os.path.getsize(path):
                return _read(path)
        raise UsageError(
            f"there is no record of a run in {self.path}",
            "runs keep one with --report DIR; batch jobs do so by themselves, unless they have --no-report",
        )


def _read(path: str) -> Record:
    try:
        return records.read(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", "name a job, or a directory") from None


def write(source: Source, *, as_json: bool, file: str | None) -> str:
    """Return the report as JSON, or write its page and return where that is; raises UsageError.

    file: for the page, None for one beside the record
    """
    record = source.record()
    run = summarize(record)
    rows = _compared(source.accounted, run)
    if as_json:
        return json.dumps(_values(record, run, source), indent=2)
    path = file or os.path.join(os.path.dirname(os.path.abspath(record.path)), "report.html")
    try:
        content = page(record, source.ended, rows, goes_on=source.goes_on)
        replace(os.path.abspath(path), content.encode(errors="replace"))  # arguments may be no UTF-8
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", "name another file with --output") from None
    return path


def _values(record: Record, run: Summary, source: Source) -> dict[str, Any]:
    return {
        "summary": run.to_json(),
        "lines": closing_lines(record, goes_on=source.goes_on),
        "advice": advise(run),
        "ended": source.ended,
        "goes_on": source.goes_on,
        "run": dict(record.run),
        "kinds": record.totals.get("kinds", []),
        "longest": record.totals.get("longest", []),
        "events": record.events,
        "start": [dataclasses.asdict(row) for row in start.rows(record)],
        "accounted": dict(source.accounted),
    }


def _compared(accounted: Mapping[str, float], run: Summary) -> list[tuple[str, str, str]]:
    """Return name, the batch system's figure and ours, of what it accounts."""
    ours = {
        "wall": duration(run.wall),
        "cpu": f"{duration(run.cpu)} in tasks",
        **({"memory": amount(run.peak[1])} if run.peak else {}),
    }
    words: dict[str, Callable[[float], str]] = {"wall": duration, "cpu": duration, "energy": "{:.0f} J".format}
    names = {"wall": "wall time", "cpu": "processor time", "memory": "memory of a rank", "asked": "memory asked for"}
    return [
        (names.get(name, name), words.get(name, amount)(value), ours.get(name, "")) for name, value in accounted.items()
    ]
