"""Keeps the cost of a worker that comes or goes from growing with the number of workers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from distributed import Scheduler, SchedulerPlugin

from mpidask.compat import servers

__all__ = ["Registration", "let_go"]


class Registration(SchedulerPlugin):
    """Has Dask compare a new worker's packages with each set that there is, not with each worker.

    Dask looks through the packages of all workers for each one that comes, which takes hours of a hundred thousand and
    minutes of ten thousand. All but a few have the same: these share one object, which also saves memory.
    """

    name = "mpidask-registration"

    def __init__(self) -> None:
        self._kinds: dict[str, dict[str, Any]] = {}

    async def start(self, scheduler: Scheduler) -> None:
        """Have Dask compare in our way, in the whole process: the result is the same."""
        servers.compare_versions_by(_compare_kinds)

    async def close(self) -> None:
        """Give back what the process may use after us."""
        servers.compare_versions_by(None)

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:
        """Have workers with the same packages share what they told of them."""
        state = scheduler.workers[worker]
        state.versions = self._kinds.setdefault(json.dumps(state.versions, sort_keys=True), state.versions)


def _compare_kinds(
    compare: Callable[..., dict[str, str]], scheduler: Any, workers: Mapping[str, Any], *source: Any, **named: Any
) -> dict[str, str]:
    """Do what Dask does, for one worker of each kind: the message names packages, not workers."""
    kinds = dict(zip(map(id, workers.values()), workers.items(), strict=True))
    return compare(scheduler, dict(kinds.values()), *source, **named)


def let_go(scheduler: Scheduler) -> None:
    """Have a scheduler that is about to end take workers that leave off its list, and no more.

    Dask tells all others of each one that leaves, so that they do not ask it for data: a thousand that leave at the end
    of a run keep it busy for longer than a run has to end.
    """

    def remove(address: str) -> None:
        scheduler.stream_comms.pop(address, None)
        scheduler.workers.pop(address, None)

    servers.handle_leaving_workers_by(scheduler, remove)
