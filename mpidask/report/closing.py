"""What is said of a run at its end, in three lines at most (pure)."""

from __future__ import annotations

from mpidask.report.advice import advise
from mpidask.report.quantity import amount, duration, percent
from mpidask.report.record import Record
from mpidask.report.summary import NAMES, Summary, summarize

__all__ = ["closing_lines"]


def closing_lines(record: Record, *, goes_on: bool | None = None) -> list[str]:
    """Return what a run was like, in two lines, and in a third what would have helped.

    goes_on: whether the run does; None if that is not known
    """
    run = summarize(record)
    if not run.capacity:
        return []
    advice = advise(run)
    return [_time(run, goes_on=goes_on), _rest(run), *([f"advice: {advice}"] if advice else [])]


def _time(run: Summary, *, goes_on: bool | None) -> str:
    cause = run.cause
    why = f" ({NAMES[cause].removeprefix('idle: ')})" if cause is not None else ""
    hours = run.capacity / 3600
    spent = f"{hours:.2f}" if hours >= 0.1 else f"{hours:.2g}"
    until = "" if run.complete else " so far" if goes_on else "; the record ends there"
    return (
        f"{duration(run.wall)}, {spent} core-hours, {percent(run.share('useful'))} of them useful, "
        f"{percent(run.idle)} idle{why}{until}"
    )


def _rest(run: Summary) -> str:
    memory = ""
    if run.peak is not None:
        of = f" of {amount(run.peak[2])} ({percent(run.memory or 0.0)})" if run.peak[2] else ""
        memory = f"memory up to {amount(run.peak[1])}{of} per worker, "
    again = "1 restart" if run.restarts == 1 else f"{run.restarts} restarts"
    return f"{memory}{amount(run.spilled)} spilled, {amount(run.received)} transferred, {again}"
