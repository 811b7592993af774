"""From when on a scheduler counts the time in which it has nothing to do."""

from __future__ import annotations

from distributed import Scheduler, SchedulerPlugin

__all__ = ["IdleClock"]


class IdleClock(SchedulerPlugin):
    """Has a scheduler count the time without work from when the workers are up that the run waits for.

    Dask counts from the scheduler's start on: where workers take longer to start than a scheduler may be idle, it would
    end before there is anything that could compute.
    """

    name = "mpidask-idle-clock"

    def __init__(self, wanted: int) -> None:
        """Begin.

        wanted: number of workers
        """
        self._wanted = wanted
        self._timeout: float | None = None
        self._came: set[object] = set()  # names of workers, also of such that have been lost since

    async def start(self, scheduler: Scheduler) -> None:
        """Stop the clock."""
        if self._wanted:
            self._timeout, scheduler.idle_timeout = scheduler.idle_timeout, None

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:
        """Start the clock when enough are up."""
        self._came.add(scheduler.workers[worker].name)
        if self._timeout is not None and len(self._came) >= self._wanted:
            self._timeout, scheduler.idle_timeout, scheduler.idle_since = None, self._timeout, None
