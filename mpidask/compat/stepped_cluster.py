"""Private names of Dask's cluster classes. Tested with distributed 2025.1 to 2026.8."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from distributed.deploy.cluster import Cluster
from distributed.deploy.spec import SpecCluster

__all__ = ["SteppedCluster"]


class SteppedCluster(SpecCluster):
    """Dask's SpecCluster, whose steps a derived class replaces by `begin`, `carry_out`, `end` and `workers_changed`.

    SpecCluster is meant to be derived from, but takes its steps in methods without a public name, from its constructor,
    from ``await cluster``, ``async with``, `close` and its own errors. Where Dask has one of them no longer, it
    is not called, and Dask's own step stays.
    """

    scheduler: Any
    scheduler_comm: Any

    #: Begins the names of workers, before the number.
    worker_prefix = ""

    async def _start(self) -> None:
        await self.begin()

    async def begin(self) -> None:
        """Start the scheduler, and connect to it."""
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
        correcting: Awaitable[None] = super()._correct_state()
        return correcting

    async def _close(self) -> None:
        await self.end()

    async def end(self) -> None:
        """Close the workers, then the scheduler."""
        await super()._close()

    def _update_worker_status(self, op: str, msg: Any) -> None:
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
