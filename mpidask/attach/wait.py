"""Waiting for the scheduler of a job: through the queue, and to the first connection."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

from mpidask import batch
from mpidask.addresses import reachability
from mpidask.attach import spec
from mpidask.batch import settings
from mpidask.batch.job_state import JobState
from mpidask.batch.queries import monitor
from mpidask.batch.records import store
from mpidask.batch.records.record import SCRIPT
from mpidask.batch.status import Standing
from mpidask.batch.submission.handles import Handle
from mpidask.errors import BatchError, StartupError, UsageError
from mpidask.files import is_there
from mpidask.quantities import seconds
from mpidask.run_directory import SCHEDULER
from mpidask.security import scheduler_file
from mpidask.security.scheduler_file import Entry
from mpidask.status_line import StatusLine

__all__ = ["CONNECT", "FileSearch", "JobSearch", "Search", "ended", "find", "newest", "reach", "reach_async"]

_BUSY = 30.0  # s for a scheduler that is there to answer: it may be busy, or its job is ending
_APPEARS = 30.0  # s for a scheduler file to appear
_CROWDED = 300.0  # s for that of a job: thousands of workers may come to it first
CONNECT = 30.0  # s for one attempt: Dask gives the first a fifth of it
_GLANCE = 0.3  # s between two looks
_TAIL = 8  # lines of the log of a job that has ended

T = TypeVar("T")


class Search(Protocol):
    """What looks for a scheduler.

    said: how things stand
    """

    said: str

    def look(self) -> Entry | None:
        """Return where the scheduler is, None if that is not known yet; raises an MpidaskError if it never will be."""
        ...

    def no_answer(self, entry: Entry, error: Exception) -> None:
        """Raise an MpidaskError if there is no sense in trying again."""
        ...


class JobSearch:
    """Looks for the scheduler of a job."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._file = spec.file_of(handle.record)
        self._silent: float | None = None  # since when the scheduler does not answer
        self.said = f"job {handle.title}"

    def look(self) -> Entry | None:
        """Return where the scheduler is; raises BatchError if the job has ended, UsageError if it will have none."""
        standing = self._handle.refresh()
        self.said = _said(standing, self._handle.name)
        if standing.final and standing.id == self._handle.id:  # it may have submitted itself again
            standing = self._handle.recheck()
            if standing.final:
                raise _ended(self._handle, standing)
        if standing.state.ended or standing.state in (JobState.PENDING, JobState.HELD):
            return None  # a file may be that of an earlier execution
        if is_there(self._file):
            try:
                return scheduler_file.read(self._file)
            except StartupError:
                if os.path.exists(self._file):  # or the run has just removed it
                    raise
        if not spec.serves(self._handle.record):
            raise UsageError(
                f"job {standing.id} runs a script: there is no scheduler for others to connect to",
                "`mpidask start` gets a job for that",
            )
        return None

    def no_answer(self, entry: Entry, error: Exception) -> None:
        """Raise StartupError if the job runs, and its scheduler has been silent for a while."""
        standing = self._handle.refresh()
        if standing.state is not JobState.RUNNING or self._handle.record.exited is not None:
            self._silent = None
            return
        self._silent = self._silent or time.monotonic()
        if time.monotonic() - self._silent > (_CROWDED if _is_busy(error) else _BUSY):
            raise _unreachable(f"of job {standing.id}", entry, error) from error
        self.said = f"job {standing.id} running, its scheduler does not answer yet"


class FileSearch:
    """Looks for the scheduler that a file tells of.

    patient: wait for a run to replace a stale file, too
    """

    def __init__(self, path: str, *, patient: bool = False) -> None:
        self._path = path
        self._patient = patient
        self._until = time.monotonic() + _APPEARS
        self._silent: tuple[str, float] | None = None  # who is there and does not answer, and since when
        self.said = self._missing = f"waiting for the scheduler file {path}"

    def look(self) -> Entry | None:
        """Return where the scheduler is, None for a file that is not there yet: its run may just have been started.

        Raises StartupError for one that does not come, or cannot be used.
        """
        if not is_there(self._path):
            self.said = self._missing
            if time.monotonic() < self._until:
                return None
            raise StartupError(
                f"there is no scheduler file {self._path}",
                "the run with the scheduler writes it, and removes it at its end",
            )
        return scheduler_file.read(self._path)

    def no_answer(self, entry: Entry, error: Exception) -> None:
        """Raise StartupError if the file is stale, or its scheduler has been silent for a while."""
        if _is_busy(error):
            if self._silent is None or self._silent[0] != entry.address:
                self._silent = entry.address, time.monotonic()
            if time.monotonic() - self._silent[1] < _BUSY:
                self.said = f"the scheduler that {self._path} tells of does not answer yet"
                return
        if self._patient and time.monotonic() < self._until:
            self.said = f"waiting for a run to replace the scheduler file {self._path}: its scheduler does not answer"
            return
        raise _unreachable(f"that {self._path} tells of ({entry.origin})", entry, error) from error


def find(job: str | int | os.PathLike[str] | None, *, patient: bool = False) -> Search:
    """Return what looks for a scheduler.

    job: job id, run name, the path of a scheduler file or of a run directory; None: the newest job of `mpidask start`
    patient: as of `FileSearch`
    Raises UsageError if there is no such job.
    """
    if job is None:
        return JobSearch(newest())
    text = os.fspath(job) if isinstance(job, os.PathLike) else str(job)
    if not isinstance(job, os.PathLike) and os.sep not in text and not text.endswith(".json"):
        return JobSearch(batch.find(text))
    path = os.path.abspath(os.path.expanduser(text))
    if os.path.exists(os.path.join(path, SCRIPT)):
        interval = seconds(settings.load({}).poll_interval, "poll-interval")
        return JobSearch(Handle(store.read(Path(path)), interval))
    return FileSearch(os.path.join(path, SCHEDULER) if os.path.isdir(path) else path, patient=patient)


def newest() -> Handle:
    """Return the newest job of `mpidask start` that has not ended; raises UsageError if there is none."""
    serving = [handle for handle in batch.jobs() if spec.serves(handle.record)]
    standings = monitor.look_again([handle.record for handle in serving])
    for handle in reversed(serving):
        if handle.id and not standings[handle.name].state.ended:
            return handle
    raise UsageError("there is no job with a scheduler", "get one: mpidask start -N 4")


def reach(search: Search, make: Callable[[Entry], T], *, timeout: float | str | None, quiet: bool) -> T:
    """Wait for the scheduler, connect, and return what that makes.

    make:    connects to who listens there; raises ConnectionError for another one, OSError if nothing answers
    timeout: s, or such as '5 min'; None: as long as it takes
    quiet:   show nothing meanwhile
    Raises BatchError if the job has ended, StartupError if there is no answer or the time is up.
    """
    line = StatusLine(enabled=not quiet)
    try:
        for entry in _look(search, line, timeout):
            if entry is None:
                time.sleep(_GLANCE)
                continue
            try:
                reachability.check_listening(entry.address)
                return make(entry)
            except OSError as error:
                search.no_answer(entry, error)
                line.show(search.said)
                time.sleep(_GLANCE)
    finally:
        line.clear()
    raise AssertionError("unreachable")


async def reach_async(
    search: Search, make: Callable[[Entry], Awaitable[T]], *, timeout: float | str | None, quiet: bool
) -> T:
    """Do the same without blocking the event loop."""
    line = StatusLine(enabled=not quiet)
    looks = _look(search, line, timeout)
    try:
        while True:
            entry = await asyncio.to_thread(next, looks)
            if entry is None:
                await asyncio.sleep(_GLANCE)
                continue
            try:
                await asyncio.to_thread(reachability.check_listening, entry.address)
                return await make(entry)
            except OSError as error:
                await asyncio.to_thread(search.no_answer, entry, error)
                line.show(search.said)
                await asyncio.sleep(_GLANCE)
    finally:
        line.clear()


def _look(search: Search, line: StatusLine, timeout: float | str | None) -> Iterator[Entry | None]:
    """Yield what is found, for ever; raises StartupError when the time is up."""
    allowed = None if timeout is None else seconds(str(timeout), "timeout")
    begun = time.monotonic()
    while True:
        entry = search.look()
        if entry is None:
            line.show(search.said)
        yield entry
        if allowed is not None and time.monotonic() - begun > allowed:
            raise StartupError(
                f"there is no connection after {allowed:g} s: {search.said}",
                "the job stays; allow more time with timeout",
            )


def _said(standing: Standing, name: str = "") -> str:
    """Return how a job stands that one waits for."""
    text = f"job {standing.id or name} {standing.state.value}"
    if standing.state is JobState.RUNNING:
        return f"{text}, its scheduler starts"
    text += f", {standing.reason}" if standing.reason else ""
    waits = standing.state is JobState.PENDING and standing.start
    return f"{text}, estimated start {standing.start.replace('T', ' ')}" if waits and standing.start else text


def ended(title: str, standing: Standing) -> str:
    """Return how a job has ended."""
    how = ["" if standing.exit_status is None else f"exit status {standing.exit_status}", standing.reason or ""]
    return ": ".join([f"job {title} has ended", *filter(None, how)])


def _ended(handle: Handle, standing: Standing) -> BatchError:
    lines: list[str] = []
    if standing.state is not JobState.DONE:
        with contextlib.suppress(UsageError):  # it has printed nothing
            lines += handle.logs().splitlines()[-_TAIL:]
        lines += handle.record.system_log.splitlines()[-_TAIL:]
    return BatchError(
        "\n".join([ended(handle.title, standing), *(f"| {line}" for line in lines)]), "`mpidask start` gets another one"
    )


def _is_busy(error: Exception) -> bool:
    """Whether somebody may be there who does not answer in time."""
    from distributed.comm.core import CommClosedError

    return not isinstance(error, ConnectionError | CommClosedError)


def _unreachable(whose: str, entry: Entry, error: Exception) -> StartupError:
    place = f" (on {entry.host})" if entry.host else ""
    return StartupError(
        f"the scheduler {whose} does not answer: {entry.address}{place}, tried from {socket.gethostname()}\n{error}",
        "it may have been lost, or be out of reach from here: connect from a node on its network",
    )
