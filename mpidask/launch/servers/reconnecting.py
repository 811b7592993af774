"""Workers inside a rank's own process come back when their connection to the scheduler breaks."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import time

from distributed import Worker, rpc
from distributed.core import Server

from mpidask.compat.lost_connections import has_lost_connection, is_needed
from mpidask.errors import MpidaskError, warn
from mpidask.launch.servers.plugins.worker_exits import EXIT_TOPIC, exit_message
from mpidask.launch.servers.server_start import start_workers
from mpidask.launch.servers.specs import WorkerGroupSpec

__all__ = ["keep_workers"]

_LOOK = 0.2  # s between two looks whether a task of a worker that has closed still runs


async def keep_workers(spec: WorkerGroupSpec, workers: list[Server]) -> None:
    """Return when workers have ended for good; start one again that has only lost its connection.

    spec:    how they were made
    workers: the list that is kept
    """

    async def keep(index: int) -> None:
        alone = dataclasses.replace(spec, workers=spec.workers[index : index + 1], choice=False)
        while await _is_to_return(workers[index], spec):
            (worker,) = await start_workers(alone)
            workers[index] = worker
            if isinstance(worker, Worker):
                worker.log_event(EXIT_TOPIC, exit_message(worker.name, 0, disconnected=True))

    async def keep_or_say(index: int) -> None:
        try:
            await keep(index)
        except (MpidaskError, OSError, RuntimeError) as error:
            name = spec.workers[index].name
            warn(f"worker {name} on {os.uname().nodename} does not come back: {error}", key="lost-worker")

    await asyncio.gather(*(keep_or_say(index) for index in range(len(workers))))


async def _is_to_return(worker: Server, spec: WorkerGroupSpec) -> bool:
    """Wait for a worker's end; return whether it is to be started again."""
    await worker.finished()  # type: ignore[no-untyped-call]  # Dask's
    if not isinstance(worker, Worker) or not has_lost_connection(worker):
        return False
    while worker.active_threads:  # noqa: ASYNC110 - two workers in one process would be too many, for MPI above all
        await asyncio.sleep(_LOOK)
    address = str(worker.contact_address)
    async with rpc(spec.scheduler.address, connection_args=worker.connection_args) as scheduler:  # type: ignore[no-untyped-call]  # Dask's
        if not await is_needed(scheduler, address):
            return False
        await scheduler.unregister(address=address, stimulus_id=f"mpidask-lost-{time.time()}")
    return True
