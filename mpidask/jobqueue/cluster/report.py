"""What is said of a cluster's jobs (pure)."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Sequence

from dask.utils import format_bytes

from mpidask.batch.job_state import NEVER, JobState
from mpidask.jobqueue.jobs.job import Job

__all__ = ["as_html", "as_text", "exit_summary", "never_starts", "shape", "summary"]

_SHOWN = 20  # jobs in a table
_WRAPPED = "margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; overflow: hidden"  # no scroll bars in a widget


def summary(jobs: Sequence[Job]) -> str:
    """Return in a few words how the jobs stand, such as `2 running, 3 pending (other jobs come first)`."""
    counts = Counter(job.state for job in jobs)
    parts = []
    for state in JobState:
        if not counts[state]:
            continue
        reasons = Counter(job.standing.reason for job in jobs if job.state is state and job.standing.reason)
        why = f" ({reasons.most_common(1)[0][0]})" if reasons and state is not JobState.RUNNING else ""
        parts.append(f"{counts[state]} {state.value}{why}")
    return ", ".join(parts) or "none"


def shape(job: Job) -> str:
    """Return what jobs like this one ask for, the walltime among it."""
    walltime = job.spec.keywords.get("walltime") or "the site's"
    size = f"{job.spec.workers} workers, {job.worker_cores} cores, {format_bytes(job.worker_memory)}"
    return f"each job: {size}, walltime {walltime}"


def never_starts(job: Job) -> bool:
    """Whether the batch system says that a job will never start."""
    standing = job.standing
    return standing.state in (JobState.PENDING, JobState.HELD) and NEVER in (standing.reason or "")


def exit_summary(job: Job, *, tail: bool) -> str:
    """Return how a job ended, with the last lines of its log."""
    standing = job.standing
    what = "ended" if job.arrived_at is not None else "ended before its workers came"
    causes = [f"exit status {standing.exit_status}" if standing.exit_status is not None else None, standing.reason]
    why = ": ".join(filter(None, causes))
    lines = [f"job {str(job.identity) or '-'} ({job.name}) {what}{': ' if why else ''}{why}"]
    if tail:
        lines += [f"  | {line}" for line in job.tail.splitlines()] or ["  | (it has printed nothing)"]
    return "\n".join(lines)


def as_text(jobs: Sequence[Job], ended: Sequence[Job], failure: str | None) -> str:
    """Return a line for each job, those that failed last, with the last lines of their logs."""
    lines = [f"jobs: {summary(jobs)}"]
    lines += [f"  {line(job)}" for job in jobs[:_SHOWN]]
    lines += [f"  ... and {len(jobs) - _SHOWN} more"] if len(jobs) > _SHOWN else []
    failed = [job for job in ended if job.state.ended_badly and not job.cancelled]
    if failed:
        lines.append(f"failed: {len(failed)}")
        lines += [f"  {each}" for each in exit_summary(failed[-1], tail=True).splitlines()]
    lines += [failure] if failure else []
    return "\n".join(lines)


def line(job: Job) -> str:
    """Return one job in one line."""
    standing = job.standing
    words = [str(job.identity) or "-", str(job.name), standing.state.value]
    if standing.state is JobState.RUNNING:
        words.append(f"workers {len(job.present)} of {job.worker_processes}")
    if standing.reason:
        words.append(f"({standing.reason})")
    if standing.start and standing.state in (JobState.PENDING, JobState.HELD):
        words.append(f"expected to start {standing.start.replace('T', ' ')}")
    if standing.silent:
        words.append("(the batch system does not answer)")
    return "  ".join(words)


def as_html(jobs: Sequence[Job], ended: Sequence[Job], failure: str | None, notes: Sequence[str] = ()) -> str:
    """Return the same for a notebook, with further lines before it."""
    text = html.escape("\n".join([*notes, as_text(jobs, ended, failure)]))
    return f'<pre style="{_WRAPPED}">{text}</pre>'
