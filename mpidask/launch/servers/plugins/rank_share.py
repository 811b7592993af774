"""Gives a worker the cores and the log of its rank, in a process that another rank's agent has forked."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection

import dask.system
from distributed import Worker, WorkerPlugin

from mpidask.launch.servers import redirection
from mpidask.launch.servers.specs import RankShare

__all__ = ["TakeShare"]


class TakeShare(WorkerPlugin):
    """Has the process of a worker with a nanny run on the cores of its rank, and print to the log of its rank."""

    name = "mpidask-rank-share"

    def __init__(self, share: RankShare) -> None:
        self._share = share

    def setup(self, worker: Worker) -> None:
        """Take it, before there is a task."""
        if self._share.cores:
            run_on(self._share.cores)
        if self._share.log is not None:
            with contextlib.suppress(OSError):  # the agent has said so of its own
                redirection.append_to(self._share.log)


def run_on(cores: Collection[int]) -> None:
    """Have all threads of this process, and what it starts, run on these cores; nothing where that is not allowed."""
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError):  # it has ended
            os.sched_setaffinity(int(thread), cores)
    dask.system.CPU_COUNT = dask.system.cpu_count()
