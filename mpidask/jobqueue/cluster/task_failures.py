"""Ends tasks that wait for workers which will never come."""

from __future__ import annotations

import contextlib
from typing import Any

from distributed.protocol.pickle import dumps

from mpidask.errors import BatchError

__all__ = ["fail_waiting_tasks"]


async def fail_waiting_tasks(scheduler_comm: Any, failure: BatchError) -> None:
    """End them with an error.

    scheduler_comm: a connection to the scheduler
    """
    with contextlib.suppress(OSError):
        await scheduler_comm.run_function(function=dumps(_fail), args=dumps((failure.what,)), wait=True)


def _fail(text: str, dask_scheduler: Any = None) -> None:
    """End, on the scheduler, all tasks that wait for a worker."""
    waiting = [*dask_scheduler.unrunnable, *dask_scheduler.queued]
    exception = dumps(BatchError(text))
    for task in waiting:
        recommendations = dask_scheduler.transition(
            task.key, "erred", exception=exception, cause=task.key, stimulus_id="jobs-failed"
        )
        dask_scheduler.transitions(recommendations, stimulus_id="jobs-failed")
