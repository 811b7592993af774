"""Jobs as a table, or as values for programs."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from mpidask.batch.outcome import Standing
from mpidask.batch.records import Record
from mpidask.batch.system import JobState

__all__ = ["duration", "last_lines", "row", "show"]

_TAIL = 8  # lines of the log of a job that has failed


def row(record: Record, standing: Standing) -> dict[str, Any]:
    """Return what there is to say of a job; times in s."""
    submissions = record.submissions or [("", 0.0)]
    progress = record.progress if standing.state is JobState.RUNNING else None
    ends = progress.ends if progress else None
    return {
        "job": standing.id,
        "run": record.name,
        "name": record.job,
        "system": record.system,
        "state": standing.state.value if standing.id else "not submitted",
        "native": standing.native or None,
        "reason": standing.reason,
        "exit_status": standing.exit_status,
        "ended": standing.state.ended or not standing.id,
        "start": standing.start,
        "nodes": record.nodes,
        "ranks": record.ranks,
        "workers": progress.workers if progress else None,
        "expected_workers": progress.expected if progress else None,
        "time_left": None if ends is None else max(0.0, ends - time.time()),
        "age": time.time() - submissions[-1][1],
        "submissions": len(record.submissions),
        "silent": standing.silent,
        "directory": str(record.directory),
    }


def show(rows: Sequence[Mapping[str, Any]], records: Sequence[Record], *, verbose: bool) -> None:
    """Print the jobs as a table, with the last lines of the logs of those that have failed.

    verbose: the last lines of those that ended well, too
    """
    from rich.console import Console
    from rich.table import Table

    if not rows:
        print("no jobs; `mpidask status --all` shows older ones")
        return
    table = Table(box=None, pad_edge=False)
    for name in ("JOB", "NAME", "STATE", "SHAPE", "WORKERS", "TIME LEFT", "SUBMITTED", "WHY"):
        table.add_column(name, overflow="fold", no_wrap=name != "WHY")
    for each in rows:
        table.add_row(*_cells(each), style=_STYLES.get(each["state"]))
    wide = None if sys.stdout.isatty() else max(200, shutil.get_terminal_size().columns)
    Console(width=wide, highlight=False, markup=False).print(table)
    by_name = {record.name: record for record in records}
    for each in rows:
        if each["state"] == "failed" or (verbose and each["ended"]):
            _tail(by_name[each["run"]], each["job"])
    for silent in dict.fromkeys(each["silent"] for each in rows if each["silent"] and not each["ended"]):
        print(f"mpidask: warning: {silent}", file=sys.stderr)


_STYLES = {"running": "green", "failed": "red", "cancelled": "magenta", "held": "yellow", "pending": "cyan"}


def _cells(each: Mapping[str, Any]) -> list[str]:
    workers = "" if each["workers"] is None else f"{each['workers']} of {each['expected_workers']}"
    left = "" if each["time_left"] is None else duration(each["time_left"])
    shape = f"{each['nodes']} x {each['ranks'] // each['nodes']}"
    return [each["job"], each["name"], each["state"], shape, workers, left, f"{duration(each['age'])} ago", why(each)]


def why(each: Mapping[str, Any]) -> str:
    """Return in a few words why a job waits or how it ended."""
    parts = []
    if each["ended"] and each["exit_status"] is not None:
        parts.append(f"exit status {each['exit_status']}")
    if each["reason"]:
        parts.append(each["reason"])
    if each["state"] == "pending" and each["start"]:
        parts.append(f"estimated start {each['start'].replace('T', ' ')}")
    return "; ".join(parts)


def duration(seconds: float) -> str:
    """Return a time as 1:02:03, with days in front."""
    return str(timedelta(seconds=int(seconds)))


def _tail(record: Record, job: str) -> None:
    lines = last_lines(record)
    if lines:
        print(f"\nlast lines of job {job}:")
        print("\n".join(f"  {line}" for line in lines))


def last_lines(record: Record) -> list[str]:
    """Return the last lines that the job and, about it, the batch system have printed."""
    try:
        with record.log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 8192))
            text = file.read().decode(errors="replace")
    except OSError:
        text = ""
    return [*text.splitlines()[-_TAIL:], *record.system_log.splitlines()[-_TAIL:]]
