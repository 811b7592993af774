"""Workers inside a rank's own process come back when their connection to the scheduler breaks, as a nanny's do."""

from __future__ import annotations

import asyncio
import dataclasses
import time

from distributed import Worker, rpc
from distributed.core import Server

from mpidask.launch.orders import WorkersPlan
from mpidask.launch.postmortem import EXIT_TOPIC
from mpidask.launch.servers import exit_message, identify, start_workers
from mpidask.launch.waves import Turn
from mpidask.returning import has_lost_connection

__all__ = ["keep_workers"]

_ANSWER = 3.0  # s for the scheduler to answer; one that does not is gone, and so is what it needs workers for


async def keep_workers(plan: WorkersPlan, workers: list[Server]) -> None:
    """Return when workers have ended for good; start one again that has only lost its connection.

    plan:    how they were made
    workers: the list that is kept
    """

    async def keep(index: int) -> None:
        alone = dataclasses.replace(plan, workers=plan.workers[index : index + 1], turn=Turn())
        while await _is_to_return(workers[index], plan):
            (worker,) = await start_workers(alone)
            workers[index] = worker
            if isinstance(worker, Worker):
                worker.log_event(EXIT_TOPIC, exit_message(worker.name, 0, disconnected=True))

    await asyncio.gather(*(keep(index) for index in range(len(workers))))


async def _is_to_return(worker: Server, plan: WorkersPlan) -> bool:
    """Wait for a worker's end; return whether it is to be started again."""
    await worker.finished()  # type: ignore[no-untyped-call]  # Dask's
    if not isinstance(worker, Worker) or not has_lost_connection(worker):
        return False
    try:
        await identify(plan.scheduler, _ANSWER)
        async with (
            asyncio.timeout(_ANSWER),
            rpc(plan.scheduler.address, connection_args=worker.connection_args) as scheduler,  # type: ignore[no-untyped-call]  # Dask's
        ):
            await scheduler.unregister(address=worker.contact_address, stimulus_id=f"mpidask-lost-{time.time()}")
    except (OSError, TimeoutError):
        return False
    return True
