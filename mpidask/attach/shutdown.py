"""Ending a job in order: its scheduler is asked to shut down, and what does not follow is cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from typing import Any

from distributed.core import rpc
from distributed.security import Security

from mpidask import batch
from mpidask.attach import spec, wait
from mpidask.batch.job_state import JobState
from mpidask.batch.submission.handles import Handle
from mpidask.errors import MpidaskError
from mpidask.security import scheduler_file
from mpidask.security.scheduler_file import Entry
from mpidask.status_line import PATIENCE, StatusLine

__all__ = ["await_end", "connection", "shut_down", "stop"]

_ANSWER = 10.0  # s for a scheduler to take note that it is to shut down
_ENDS = 30.0  # s for a job to end by itself then: a rank has 8 s, launcher and batch system take theirs
_GLANCE = 0.2  # s


def stop(handle: Handle) -> str:
    """End a job, whether it waits or runs; return what was done, in words.

    Raises BatchError if the batch system refuses.
    """
    standing = handle.recheck()
    if standing.state.ended:
        return "has ended already"
    file = spec.file_of(handle.record)
    if standing.state is not JobState.RUNNING or not os.path.exists(file):  # the file may be of an earlier execution
        batch.cancel([handle])
        return "is cancelled"
    with contextlib.suppress(MpidaskError):  # the file has just gone, or cannot be used
        asyncio.run(_ask(scheduler_file.read(file)))
    return await_end(handle)


def await_end(handle: Handle, *, quiet: bool = False) -> str:
    """Wait a little for the end of a job that was asked to end, and cancel it then; return what happened, in words.

    quiet: show nothing meanwhile
    """
    deadline = time.monotonic() + _ENDS
    line = StatusLine(enabled=not quiet, after=PATIENCE)
    try:
        while time.monotonic() < deadline:
            if handle.record.exited is not None or handle.state.ended:
                return "has ended gracefully"
            line.show(f"waiting for job {handle.title} to end")
            time.sleep(_GLANCE)
    finally:
        line.clear()
    batch.cancel([handle])
    return f"did not end within {_ENDS:g} s, and is cancelled"


def connection(entry: Entry) -> Any:
    """Return a connection to a scheduler, not opened yet: Dask's rpc."""
    security = Security() if entry.keys is None else entry.keys.security()
    arguments = security.get_connection_args("client")
    return rpc(entry.address, timeout=wait.CONNECT, connection_args=arguments)


async def shut_down(scheduler: Any) -> None:
    """Ask a scheduler to shut down; never raises because it is gone, or does not answer."""
    with contextlib.suppress(OSError):
        await asyncio.wait_for(scheduler.terminate(), _ANSWER)


async def _ask(entry: Entry) -> None:
    scheduler = connection(entry)
    try:
        await shut_down(scheduler)
    finally:
        await scheduler.close_rpc()
