"""Keeps the cost of a worker that comes or goes from growing with the number of workers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import distributed.versions
from distributed import Scheduler, SchedulerPlugin

__all__ = ["Registration", "let_go"]

_compare = distributed.versions.error_message


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
        distributed.versions.error_message = _compare_kinds

    async def close(self) -> None:
        """Give back what the process may use after us."""
        distributed.versions.error_message = _compare

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:
        """Have workers with the same packages share what they told of them."""
        state = scheduler.workers[worker]
        state.versions = self._kinds.setdefault(json.dumps(state.versions, sort_keys=True), state.versions)


def _compare_kinds(
    scheduler: Any, workers: Mapping[str, Any], source: Any, source_name: str = "Client"
) -> dict[str, str]:
    """Do what Dask does, for one worker of each kind: the message names packages, not workers."""
    kinds = dict(zip(map(id, workers.values()), workers.items(), strict=True))
    return _compare(scheduler, dict(kinds.values()), source, source_name)  # type: ignore[no-any-return,no-untyped-call]


def let_go(scheduler: Scheduler) -> None:
    """Have a scheduler that is about to end take workers that leave off its list, and no more.

    Dask tells all others of each one that leaves, so that they do not ask it for data: a thousand that leave at the end
    of a run keep it busy for longer than a run has to end.
    """

    async def remove_worker(address: str, **_: object) -> str:
        scheduler.stream_comms.pop(address, None)
        scheduler.workers.pop(address, None)
        return "OK"

    scheduler.remove_worker = remove_worker  # type: ignore[method-assign,assignment]  # by what its streams end with
