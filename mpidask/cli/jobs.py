"""`mpidask report`, `status`, `logs`, `cancel`, `clean`: jobs, seen from a login node without MPI."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mpidask.cli import common
from mpidask.cli.help_page import CommandWithHelp
from mpidask.errors import UnclearError, UsageError

if TYPE_CHECKING:
    from mpidask.batch.settings import JobOptions
    from mpidask.batch.status import Standing
    from mpidask.batch.submission.handles import Handle
    from mpidask.report.output import Source

__all__ = ["COMMANDS"]

_STATUS = "Show what has become of jobs: those given, else those that wait, run, or ended within a day."

_REPORT = """\
Write what a run was like as a page for a browser: core-hours, timeline, memory, tasks, advice. Print where it is.

The run is a job, the newest one by default, or a directory that was given as --report. Of two runs a table is printed
that compares them."""

_LOGS = """\
Print the output of a job: the script's and mpidask's own, or that of one rank's servers and tasks.

Without JOB it is the newest job that has printed something."""

_CANCEL = """\
Cancel jobs, whether they wait or run.

Without JOB it is the one that waits or runs; if there are several, they are listed."""

_CLEAN = """\
Remove the run directories of jobs that ended long ago, of failed submissions and of closed clusters.

What is removed is printed, with the space that it took. Jobs that wait or run, or whose state is not known, are kept.
Each submission does the same for what has ended longer ago than `keep` says (30 days; in the configuration
mpidask.batch.keep)."""

_DAY = 86400.0  # s


def _status(argv: Sequence[str]) -> int:
    from mpidask import batch
    from mpidask.batch.queries import monitor
    from mpidask.cli import table

    given = common.read(_status_command(), argv)
    if given is None:
        return 0
    handles = common.find_jobs(given["jobs"]) if given["jobs"] else batch.jobs()
    interval = handles[0].interval if handles else 0.0
    standings = monitor.look([handle.record for handle in handles], interval)
    if not given["jobs"] and not given["all"]:
        handles = [handle for handle in handles if _is_recent(handle, standings[handle.name])]
    rows = [table.row(handle.record, standings[handle.name]) for handle in handles]
    if given["json"] or given["jobs"]:
        rows = [
            {**each, "report": _reported(each["directory"], standings[handle.name])}
            for handle, each in zip(handles, rows, strict=True)
        ]
    if given["json"]:
        print(json.dumps(rows, indent=2))
    elif given["jobs"]:
        table.show_details(rows, [handle.record for handle in handles])
    else:
        table.show(rows)
    return 0


def _reported(directory: str, standing: Standing) -> dict[str, Any] | None:
    """Return what the record of a job's last run comes to; None without one."""
    from mpidask.report import closing, record, summary

    found = record.newest(directory)
    if found is None:
        return None
    lines = closing.closing_lines(found, goes_on=_goes_on(standing))
    return {**summary.summarize(found).to_json(), "lines": lines}


def _goes_on(standing: Standing) -> bool | None:
    """Whether a job runs; None if that is not known."""
    return {"running": True, "unknown": None}.get(standing.state.value, False)


def _report(argv: Sequence[str]) -> int:
    """Write the page of a run's report, or what it says as JSON; compare two."""
    from mpidask.report import comparison, output, summary

    given = common.read(_report_command(), argv)
    if given is None:
        return 0
    if len(given["jobs"]) > 2:
        raise UsageError("more than two reports were named", "name one, or two to compare: mpidask report A B")
    sources = [_source(token) for token in given["jobs"] or [_newest(printed=True).title]]
    if len(sources) == 1:
        print(output.write(sources[0], as_json=given["json"], file=given["output"]))
        return 0
    first, second = (summary.summarize(source.record()) for source in sources)
    names = (given["jobs"][0], given["jobs"][1])
    print(
        json.dumps(comparison.as_json(first, second), indent=2)
        if given["json"]
        else "\n".join(comparison.lines(first, second, names))
    )
    return 0


def _source(token: str) -> Source:
    """Return where the record of a job is, or the one in a directory; raises UsageError."""
    from mpidask.batch.queries import accounting, monitor
    from mpidask.cli import table
    from mpidask.report.output import Source

    if os.path.isdir(token) or token.endswith(".jsonl"):
        return Source(token)
    handle = common.find_jobs([token])[0]
    standing = monitor.look([handle.record], handle.interval)[handle.name]
    ended = standing.reason or table.why(table.row(handle.record, standing)) or None
    return Source(str(handle.directory), ended, accounting.ask(handle.record), goes_on=_goes_on(standing))


def _is_recent(handle: Handle, standing: Standing) -> bool:
    """Whether a job is shown without being asked for: it was not refused, and has not ended, or has within a day."""
    if handle.record.refused:
        return False
    ended = handle.record.ended(standing)
    return ended is None or time.time() - ended < _DAY


def _logs(argv: Sequence[str]) -> int:
    given = common.read(_logs_command(), argv)
    if given is None:
        return 0
    handle = common.find_jobs([given["job"]])[0] if given["job"] else _newest(printed=not given["follow"])
    if given["follow"]:
        from mpidask.cli.follow import follow

        return follow(handle, show=True)
    path = handle.log(given["rank"]) if given["worker"] is None else handle.log_of_worker(given["worker"])
    text = path.read_text(encoding="utf-8", errors="replace")
    if given["rank"] is None and given["worker"] is None and handle.record.system_log:
        text += f"mpidask: the batch system adds:\n{handle.record.system_log}"
    lines = text.splitlines(keepends=True)
    sys.stdout.write("".join(lines if given["tail"] is None else lines[max(0, len(lines) - given["tail"]) :]))
    return 0


def _newest(*, printed: bool) -> Handle:
    """Return the newest job on record; one that has printed something, if that is asked for and there is one."""
    from mpidask import batch

    every = batch.jobs()
    if not every:
        raise UsageError("there is no job on record", "submit one: mpidask submit script.py")
    with_log = [handle for handle in every if handle.record.log.exists()]
    return (with_log or every)[-1] if printed else every[-1]


def _cancel(argv: Sequence[str]) -> int:
    from mpidask import batch
    from mpidask.batch.queries import monitor

    given = common.read(_cancel_command(), argv)
    if given is None:
        return 0
    if given["orphans"]:
        return _cancel_orphans()
    handles = common.choose(given["jobs"], "cancel")
    standings = monitor.look_again([handle.record for handle in handles])
    live = [each for each in handles if each.record.doubt is not None or not standings[each.name].state.ended]
    for handle in handles:
        if handle not in live:
            ended = "has ended already" if handle.id else "was not submitted"
            print(f"mpidask: job {handle.title} {ended}", file=sys.stderr)
    batch.cancel(live)
    for handle in live:
        print(f"mpidask: job {handle.id} is cancelled", file=sys.stderr)
    return 0


def _cancel_orphans() -> int:
    """Cancel the jobs of clusters whose process has ended on this host without closing them."""
    from mpidask.batch import leases

    cancelled = [job for lease in leases.orphans() for job in lease.release()]
    for job in cancelled:
        print(f"mpidask: job {job} is cancelled", file=sys.stderr)
    if not cancelled:
        print("mpidask: there are no orphans", file=sys.stderr)
    return 0


def _clean(argv: Sequence[str]) -> int:
    from dask.utils import format_bytes

    from mpidask.batch import cleaning, settings

    given = common.read(_clean_command(), argv)
    if given is None:
        return 0
    options = settings.load({})
    found, kept = cleaning.look(options, _older_than(given["older_than"], options))
    verb, freed = ("would remove", "would be freed") if given["dry_run"] else ("removed", "freed")
    done = 0
    for each in found:
        if given["dry_run"] or cleaning.remove(each.directory):
            done += each.size
            print(f"{verb} {each.what}, {format_bytes(each.size)}: {each.directory}")
        else:
            kept.append(f"{each.what}: {each.directory} cannot be removed")
    for line in kept:
        print(f"mpidask: kept: {line}", file=sys.stderr)
    print(f"mpidask: {format_bytes(done)} {freed}")
    return 0


def _older_than(given: str | None, options: JobOptions) -> float:
    """Return how long ago what is to be removed must have ended, in s; raises UsageError."""
    from mpidask.batch import settings

    if given is not None and given.strip() == "0":
        return 0.0
    older = settings.retention(options.keep if given is None else given, "keep" if given is None else "--older-than")
    if older is None:
        raise UsageError(
            "nothing is removed: mpidask.batch.keep is never" if given is None else "--older-than is never",
            "name a time: mpidask clean --older-than '30 days'",
        )
    return older


def _resubmit(argv: Sequence[str]) -> int:
    """Submit a job again from within itself: the job script calls this."""
    from mpidask.batch.submission import resubmission

    if len(argv) != 1:
        raise UsageError("mpidask resubmit takes a run directory", "job scripts call it")
    try:
        record, job_id = resubmission.resubmit(Path(argv[0]))
    except UnclearError as error:  # the job that may come after this one will say how it ended
        sys.stderr.write(error.text())
        return 0
    times = len(record.submissions) - 1
    again = f"submitted again as job {job_id} ({times} of at most {record.requeue})"
    sys.stderr.write(f"mpidask: the walltime has ended the run; {again}\n")
    return 0


def _report_command() -> click.Command:
    return CommandWithHelp(
        "report",
        _REPORT,
        [
            common.job_argument("jobs", several=True),
            click.Option(["--json"], is_flag=True, help="Print it for programs; write no page."),
            click.Option(["--output", "-o"], metavar="FILE", help="Default: report.html beside the record."),
        ],
        arguments="[JOB|DIR] [JOB|DIR]",
        examples=["mpidask report 4711", "mpidask report 4711 4712"],
    )


def _status_command() -> click.Command:
    return CommandWithHelp(
        "status",
        _STATUS,
        [
            common.job_argument("jobs", several=True),
            click.Option(["--all"], is_flag=True, help="All jobs on record."),
            click.Option(["--json"], is_flag=True, help="For programs: a list of objects."),
        ],
        arguments="[JOB ...]",
        examples=["mpidask status", "mpidask status 4711"],
    )


def _logs_command() -> click.Command:
    return CommandWithHelp(
        "logs",
        _LOGS,
        [
            common.job_argument(),
            click.Option(["--rank"], type=int, metavar="RANK", help="What this rank's servers and tasks have printed."),
            click.Option(["--worker"], metavar="NAME", help="What this worker and its tasks have printed."),
            click.Option(["--tail", "-n"], type=click.IntRange(0), metavar="N", help="The last N lines alone."),
            click.Option(["--follow", "-f"], is_flag=True, help="Go on to the job's end."),
        ],
        arguments="[JOB]",
        examples=["mpidask logs --tail 20", "mpidask logs 4711 --rank 3"],
    )


def _cancel_command() -> click.Command:
    return CommandWithHelp(
        "cancel",
        _CANCEL,
        [
            common.job_argument("jobs", several=True),
            click.Option(["--orphans"], is_flag=True, help="Worker jobs whose program has ended without them."),
        ],
        arguments="[JOB ...]",
        examples=["mpidask cancel 4711 4712", "mpidask cancel --orphans"],
    )


def _clean_command() -> click.Command:
    return CommandWithHelp(
        "clean",
        _CLEAN,
        [
            click.Option(["--dry-run"], is_flag=True, help="Print what would be removed; remove nothing."),
            click.Option(["--older-than"], metavar="TIME", help="Such as '7 days'; 0 for all. Default: keep's."),
        ],
        examples=["mpidask clean --dry-run", "mpidask clean --older-than '7 days'"],
    )


COMMANDS = {
    "report": (_report_command, _report),
    "status": (_status_command, _status),
    "logs": (_logs_command, _logs),
    "cancel": (_cancel_command, _cancel),
    "clean": (_clean_command, _clean),
    "resubmit": (None, _resubmit),
}
