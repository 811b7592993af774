"""Private names of Dask's cluster classes. Tested with distributed 2025.1 to 2026.8."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from distributed.core import Status
from distributed.deploy.cluster import Cluster
from distributed.deploy.spec import SpecCluster

from mpidask.compat.cluster_page import FittingPage
from mpidask.compat.missing import report_missing

__all__ = ["SteppedCluster"]

#: Methods of Dask's that are replaced -> what a cluster does without where Dask does not call one any more.
_STEPS = {
    "_start": "a cluster starts in steps",
    "_correct_state": "a cluster has the workers that are planned",
    "_close": "a cluster closes in steps",
    "_update_worker_status": "a cluster notices workers that come and go",
    "_new_worker_name": "workers are named after their cluster",
}


class SteppedCluster(FittingPage, SpecCluster):
    """Dask's SpecCluster, whose steps a derived class replaces by `begin`, `carry_out`, `end` and `workers_changed`.

    SpecCluster is meant to be derived from, but takes its steps in methods without a public name, from its constructor,
    from ``await cluster``, ``async with``, `close` and its own errors. Where Dask has one of them no longer, it
    is not called, and Dask's own step stays.

    Upstream: no issue.
    """

    scheduler: Any
    scheduler_comm: Any

    #: Begins the names of workers, before the number.
    worker_prefix = ""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        report_missing(SpecCluster, _STEPS)
        super().__init__(*args, **keywords)

    async def _start(self) -> None:
        await self.begin()

    async def begin(self) -> None:
        """Start the scheduler, and connect to it."""
        if hasattr(SpecCluster, "_start"):
            await super()._start()

    def _correct_state(self) -> Awaitable[None]:
        return self.carry_out()

    def carry_out(self) -> Awaitable[None]:
        """Have those workers that are planned, and no others.

        Returns
        -------
        Awaitable
            Done when they are there.
        """
        if not hasattr(SpecCluster, "_correct_state"):
            return asyncio.sleep(0)
        correcting: Awaitable[None] = super()._correct_state()
        return correcting

    async def _close(self) -> None:
        await self.end()

    async def end(self) -> None:
        """Close the workers, then the scheduler; where that is interrupted it can be done again."""
        if hasattr(SpecCluster, "_close"):
            begins = self.status not in (Status.closing, Status.closed)
            try:
                await super()._close()
            except BaseException:
                if begins and self.status == Status.closing:  # for whose end a second one would wait for ever
                    self.status = Status.failed
                raise

    def _update_worker_status(self, op: str, msg: Any) -> None:
        if hasattr(Cluster, "_update_worker_status"):
            Cluster._update_worker_status(self, op, msg)  # SpecCluster would close what has had no worker for a while
        self.workers_changed()

    def workers_changed(self) -> None:
        """Take notice of workers that have come or gone, once for each message of the scheduler."""

    def worker_name(self, number: int) -> str:
        """Return the name of a worker, as a user's class may have it: Dask has such classes override this method.

        Parameters
        ----------
        number : int
            Of the worker, from 0 up.

        Returns
        -------
        str
            The name.
        """
        return self._new_worker_name(number)

    def _new_worker_name(self, worker_number: int) -> str:
        return f"{self.worker_prefix}-{worker_number}"
