"""What is removed of old jobs and clusters: their directories, when they ended long enough ago.

Nothing is removed of a job that waits or runs, or may do so.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from mpidask.batch import leases, settings
from mpidask.batch.queries import monitor
from mpidask.batch.records import record, store
from mpidask.batch.records.record import Record
from mpidask.batch.status import Standing
from mpidask.errors import UsageError
from mpidask.files import is_ours

__all__ = ["Remains", "look", "remove", "tidy"]

_NAME = re.compile(r"(\d{8}-\d{6})-.+-[0-9a-f]{4}")  # that begins with when it was made
_SUBMITTING = 600.0  # s that a submission may take
_BROKEN = (OSError, ValueError, KeyError, TypeError)  # half written, or not ours


@dataclasses.dataclass(frozen=True, kw_only=True)
class Remains:
    """A directory that may be removed.

    what: what it is of, in words
    size: bytes that it takes on the disk
    """

    directory: Path
    what: str
    size: int


def tidy(options: settings.JobOptions) -> None:
    """Remove what ended longer ago than is configured; raises UsageError if that is no time.

    Batch systems are not asked: of jobs, what is on record counts.
    """
    older = settings.retention(options.keep)
    if older is None:
        return
    with contextlib.suppress(OSError):
        for each in _found(options, time.time() - older, [], ask=False):
            remove(each.directory)


def look(options: settings.JobOptions, older: float) -> tuple[list[Remains], list[str]]:
    """Return what ended at least `older` s ago, and what is kept because nobody knows whether it has ended."""
    kept: list[str] = []
    found = _found(options, time.time() - older, kept, ask=True)
    return [dataclasses.replace(each, size=_size(each.directory)) for each in found], kept


def remove(directory: Path) -> bool:
    """Remove a directory with all in it; return whether it is gone."""
    shutil.rmtree(directory, ignore_errors=True)
    return not directory.exists()


def _found(options: settings.JobOptions, before: float, kept: list[str], *, ask: bool) -> list[Remains]:
    """Return what ended before that time; what is not known to have ended is named in `kept`. Sizes are 0."""
    found: list[Remains] = []
    jobs: list[Record] = []
    for directory in _made_before(store.home(options.state_directory), before):
        try:
            jobs.append(store.read(directory))
        except _BROKEN:
            if max(record.newest(directory), directory.stat().st_mtime) <= min(before, time.time() - _SUBMITTING):
                found.append(Remains(directory=directory, what="an unfinished run directory", size=0))
    standings = monitor.look(jobs, 0.0) if ask else {job.name: job.standing for job in jobs}
    for job in jobs:
        standing = standings[job.name]
        doubt = _doubt(job, standing)
        if doubt:
            kept.append(f"{_title(job, standing)}: {doubt}")
        elif _has_ended(job, standing, before):
            found.append(Remains(directory=job.directory, what=_title(job, standing), size=0))
    return found + _clusters(before, kept)


def _doubt(job: Record, standing: Standing) -> str | None:
    """Return why it is not known whether a job has ended, None if it is."""
    if job.doubt is not None and job.exited is None:
        return "it may have been submitted"
    return standing.silent.splitlines()[0] if standing.silent and not standing.final else None


def _has_ended(job: Record, standing: Standing, before: float) -> bool:
    """Whether a job has ended for good, or was not submitted, and nothing was written since a time before that one."""
    if job.id:
        over = standing.state.ended and standing.final
    else:
        over = job.refused or job.exited is not None or time.time() - record.newest(job.directory) > _SUBMITTING
    ended = job.ended(standing)
    return over and ended is not None and max(ended, record.newest(job.directory)) <= before


def _title(job: Record, standing: Standing) -> str:
    if not job.id:
        return f"a submission that failed ({job.job})"
    return f"job {job.id} ({job.job}, {standing.state.value})"


def _clusters(before: float, kept: list[str]) -> list[Remains]:
    """Return the directories of clusters that were closed before that time."""
    found: list[Remains] = []
    try:
        home = store.home(None, "clusters")
    except UsageError:  # there is no place for them
        return found
    for directory in _made_before(home, before):
        with contextlib.suppress(*_BROKEN):
            lease = leases.read(directory)
            if lease.is_released and record.newest(directory) <= before:
                found.append(Remains(directory=directory, what="a closed cluster", size=0))
            elif lease.is_orphaned:
                kept.append(f"a cluster that was not closed; `mpidask cancel --orphans` ends its jobs: {directory}")
    return found


def _made_before(home: Path, before: float) -> Iterator[Path]:
    """Yield this user's directories that were made before that time, by their names, the oldest first."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(before))
    for path in store.entries(home):
        match = _NAME.fullmatch(path.name)
        if match and match[1] <= stamp and path.is_dir() and not path.is_symlink() and is_ours(path):
            yield path


def _size(directory: Path) -> int:
    """Return how many bytes a directory takes on the disk."""
    size = 0
    for place, _, names in os.walk(directory):
        for name in ["", *names]:
            with contextlib.suppress(OSError):
                size += os.lstat(os.path.join(place, name) if name else place).st_blocks * 512
    return size
