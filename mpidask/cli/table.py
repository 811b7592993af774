"""Jobs as a table, one by one, or as values for programs."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from mpidask.batch.commands import runner
from mpidask.batch.job_state import JobState
from mpidask.batch.records.record import Record
from mpidask.batch.status import Standing
from mpidask.errors import WalltimeError
from mpidask.run_directory import Progress

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["details", "duration", "last_lines", "lines", "row", "show", "show_details", "why"]

_TAIL = 8  # lines of the log of a job that has ended
_SKEW = 60.0  # s by which the clocks of nodes may differ


def row(record: Record, standing: Standing) -> dict[str, Any]:
    """Return what there is to say of a job; points in time are ISO 8601 with a time zone, durations s."""
    progress = _progress(record)
    running = progress if standing.state is JobState.RUNNING else None
    there = None if standing.state in (JobState.PENDING, JobState.HELD) else progress  # not where it was before
    ends = running.ends if running else None
    executions = _executions(record, standing)
    last = executions[-1] if executions else {}
    began = _seconds(standing.start)
    return {
        "job": standing.id,
        "run": record.name,
        "name": record.job,
        "system": record.system,
        "state": _state(record, standing),
        "native": standing.native or None,
        "reason": standing.reason,
        "exit_status": standing.exit_status,
        "submitted": last.get("submitted"),
        "expected_start": _iso(began) if standing.state is JobState.PENDING else None,
        "started": last.get("started"),
        "ended": last.get("ended"),
        "elapsed": _between(last.get("started"), last.get("ended")),
        "time_left": None if ends is None else max(0.0, ends - time.time()),
        "nodes": record.nodes,
        "node_list": list(there.nodes) if there and there.nodes else None,
        "ranks": record.ranks,
        "workers": running.workers if running else None,
        "expected_workers": running.expected if running else None,
        "dashboard": running.dashboard if running else None,
        "dashboard_host": running.host if running else None,
        "executions": executions,
        "submissions": len(record.submissions),
        "silent": standing.silent,
        "directory": str(record.directory),
        "log": str(record.log),
    }


def _state(record: Record, standing: Standing) -> str:
    """Return the word for a job's state."""
    if standing.id or record.execution is not None:
        return standing.state.value
    return "not submitted" if record.claimed is None else "unclear" if record.doubt else "being submitted"


def _progress(record: Record) -> Progress | None:
    """Return how far the current execution has come, not an earlier one; None if it has not said."""
    progress = record.progress
    if progress is None or not record.submissions:
        return None
    since = record.executions[-1][1] if record.executions else record.submitted
    return None if (progress.began or 0.0) < since - _SKEW else progress


def _executions(record: Record, standing: Standing) -> list[dict[str, Any]]:
    """Return the executions of a job, the current one last: it may have submitted itself again."""
    submissions = record.submissions
    # It does so at its end, when the walltime has ended the run.
    before = [
        _execution(str(job), submitted, None, ended, WalltimeError.status)
        for (job, submitted), (_, ended) in itertools.pairwise(submissions)
    ]
    if not submissions:
        return before
    job, submitted = submissions[-1]
    waits = standing.state in (JobState.PENDING, JobState.HELD)
    begun = record.executions if waits else record.executions[:-1]  # the batch system has run it before
    before += [_execution(str(job), submitted, since, *record.left(number)) for number, since in begun]
    ended = record.ended(standing)
    started = _started(record, standing, ended)
    return [*before, _execution(str(job), submitted, started, ended, standing.exit_status)]


def _started(record: Record, standing: Standing, ended: float | None) -> float | None:
    """Return when a job's script was started, None if it was not or that is not known; s since 1970."""
    if standing.state in (JobState.PENDING, JobState.HELD):
        return None
    started = record.executions[-1][1] if record.executions else _seconds(standing.start)
    # What is later was an estimate.
    return started if started is not None and started <= (ended or time.time()) else None


def _execution(
    job_id: str, submitted: float, started: float | None, ended: float | None, exit_status: int | None
) -> dict[str, Any]:
    times = {"submitted": submitted, "started": started, "ended": ended}
    return {"id": job_id, **{name: _iso(each) for name, each in times.items()}, "exit_status": exit_status}


def _iso(moment: float | None) -> str | None:
    """Return a point in time, s since 1970, as ISO 8601 with the local time zone."""
    return None if moment is None else datetime.fromtimestamp(moment).astimezone().isoformat(timespec="seconds")


def _seconds(text: str | None) -> float | None:
    """Return ISO 8601 in local time, or with a zone, as s since 1970."""
    return None if text is None else datetime.fromisoformat(text).timestamp()


def _between(started: str | None, ended: str | None) -> float | None:
    """Return the time from one point to another, or to now, in s."""
    begin, end = _seconds(started), _seconds(ended)
    return None if begin is None else max(0.0, (time.time() if end is None else end) - begin)


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the jobs as a table, each in one line of the terminal's width."""
    from rich.console import Console
    from rich.text import Text

    if not rows:
        print("no jobs; `mpidask status --all` shows older ones")
        return
    encoding = sys.stdout.encoding or "ascii"
    header, *others = lines(rows, _wide(), "…" if _can_print("…", encoding) else "...")
    if not sys.stdout.isatty():
        print("\n".join([header, *others]))
    else:
        console = Console(highlight=False, markup=False, soft_wrap=True)
        console.print(Text(header, style="bold"))
        for each, line in zip(rows, others, strict=True):
            console.print(_coloured(line, header.index("STATE"), each["state"]))
    _warn(rows)


def show_details(rows: Sequence[Mapping[str, Any]], records: Sequence[Record]) -> None:
    """Print the table, then all that is known of each job, and the end of the logs of those that have ended."""
    show(rows)
    by_name = {record.name: record for record in records}
    for each in rows:
        print("\n" + "\n".join(details(each)))
        tail = last_lines(by_name[each["run"]]) if each["ended"] else []
        if tail:
            print(f"last lines of job {each['job']}:")
            print("\n".join(f"  {line}" for line in tail))


def _coloured(line: str, column: int, state: str) -> Text:
    """Return a line of the table with a colour for the state, whose column begins so many cells from the left."""
    from rich.cells import set_cell_size
    from rich.text import Text

    begin = len(set_cell_size(line, column))
    text = Text(line)
    text.stylize(_STYLES.get(state, ""), begin, begin + len(state))
    return text


def _warn(rows: Sequence[Mapping[str, Any]]) -> None:
    for silent in dict.fromkeys(each["silent"] for each in rows if each["silent"] and not each["ended"]):
        runner.warn_once(silent, key="silent-batch-system")


def _can_print(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _wide() -> int | None:
    """Return how wide a line may be; None without a terminal, unless COLUMNS says it."""
    said = os.environ.get("COLUMNS", "").isdigit() and int(os.environ["COLUMNS"]) > 0
    return shutil.get_terminal_size().columns if said or sys.stdout.isatty() else None


#: State -> the style of its word. The rest of a line is readable whatever colours a terminal has.
_STYLES = {
    "running": "green",
    "failed": "bold red",
    "cancelled": "magenta",
    "held": "black on yellow",
    "pending": "cyan",
}
_HEADER = ("JOB", "NAME", "STATE", "ELAPSED", "LEFT", "WORKERS", "WHY")
_GAP = "  "
#: Which columns are cut where a line is too long, and what is left of them: the first one first.
_CUT = (("NAME", 16), ("WHY", 20), ("NAME", 8), ("WHY", 3), ("NAME", 3))


def lines(rows: Sequence[Mapping[str, Any]], wide: int | None, ellipsis: str = "…") -> list[str]:
    """Return a table: a line for its header, and one for each job (pure).

    wide: what a line may have; None for no limit. A job's id is never cut
    """
    from rich.cells import cell_len

    cells = [_HEADER, *(_cells(each) for each in rows)]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    if wide is not None:
        for name, least in _CUT:
            index = _HEADER.index(name)
            spare = max(0, sum(widths) + len(_GAP) * (len(widths) - 1) - wide)
            widths[index] = max(min(widths[index], least), widths[index] - spare)
    return [_line(each, widths, ellipsis) for each in cells]


def _line(cells: Sequence[str], widths: Sequence[int], ellipsis: str) -> str:
    from rich.cells import cell_len, set_cell_size

    cut = [
        cell if cell_len(cell) <= width else set_cell_size(cell, max(0, width - len(ellipsis))).rstrip() + ellipsis
        for cell, width in zip(cells, widths, strict=True)
    ]
    return _GAP.join(set_cell_size(cell, width) for cell, width in zip(cut, widths, strict=True)).rstrip()


def _cells(each: Mapping[str, Any]) -> tuple[str, ...]:
    elapsed, left = (_or_nothing(duration, each[key]) for key in ("elapsed", "time_left"))
    words = (each["job"] or "-", each["name"], each["state"], elapsed, left, _workers(each, "/"), why(each))
    return tuple(_plain(word) for word in words)


def _plain(text: str) -> str:
    """Return a text in one line, without what would move a terminal's cursor."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


def _or_nothing(text: Callable[[float], str], value: float | None) -> str:
    return "" if value is None else text(value)


def _workers(each: Mapping[str, Any], of: str) -> str:
    return "" if each["workers"] is None else f"{each['workers']}{of}{each['expected_workers']}"


def details(each: Mapping[str, Any]) -> list[str]:
    """Return all that is known of a job, in lines (pure)."""
    fields = {
        "why": why(each),
        "submitted": _local(each["submitted"]),
        "started": _local(each["started"]),
        "ended": _local(each["ended"]),
        "elapsed": _or_nothing(duration, each["elapsed"]),
        "time left": _or_nothing(duration, each["time_left"]),
        "shape": f"{each['nodes']} x {each['ranks'] // each['nodes']} (nodes x ranks)",
        "nodes": ", ".join(each["node_list"] or ()),
        "workers": _workers(each, " of "),
        "dashboard": f"mpidask dashboard {each['job']}" if each["dashboard"] else "",
        "directory": each["directory"],
        "log": each["log"],
    }
    said = [f"  {name:<9}  {text}" for name, text in fields.items() if text]
    before = [
        f"  before     {one['id']}, submitted {_local(one['submitted'])}, {_left(one['exit_status'])}"
        for one in each["executions"][:-1]
    ]
    report = [f"  report     {line}" for line in (each.get("report") or {}).get("lines", ())]
    return [f"job {each['job'] or '-'} ({each['name']}) on {each['system']}: {each['state']}", *said, *before, *report]


def _left(status: int | None) -> str:
    """Return the exit status of an execution in words: one that was ended from outside has left none."""
    return "no exit status" if status is None else f"exit status {status}"


def _local(text: str | None) -> str:
    """Return ISO 8601 as people read it."""
    return "" if text is None else datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M:%S")


def why(each: Mapping[str, Any]) -> str:
    """Return in a few words why a job waits or how it ended."""
    parts = []
    if each["ended"] and each["exit_status"] is not None:
        parts.append(f"exit status {each['exit_status']}")
    if each["reason"]:
        parts.append(each["reason"])
    if each["expected_start"]:
        parts.append(f"estimated start {_local(each['expected_start'])}")
    return "; ".join(parts)


def duration(seconds: float) -> str:
    """Return a time as 1:02:03, with days in front."""
    whole = timedelta(seconds=int(seconds))
    days = f"{whole.days}-" if whole.days else ""
    return f"{days}{whole - timedelta(days=whole.days)}"


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
