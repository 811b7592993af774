"""How the ranks of a run are doing, for the dashboard's page "Ranks".

Beside the scheduler: ``plugins=[postmortem := Postmortem(), RanksPlugin(spec.ranks, postmortem)]``, where the spec has
the run's ranks.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Sequence
from typing import Any

import psutil
from distributed import Scheduler, SchedulerPlugin
from distributed.scheduler import WorkerState

from mpidask.dashboard.measured import hide_missing_pages, measured
from mpidask.dashboard.table import SOURCE, Row
from mpidask.launch.servers.plugins.worker_exits import Death, Postmortem
from mpidask.launch.servers.specs import RankInfo

__all__ = ["RanksPlugin"]

_NEVER = Death(0, "")


class RanksPlugin(SchedulerPlugin):
    """Tells the dashboard how each rank is doing: `mpidask.dashboard.table.Source`."""

    name = SOURCE
    heading = "rank"

    def __init__(self, ranks: Sequence[RankInfo], postmortem: Postmortem) -> None:
        self._ranks, self._postmortem = ranks, postmortem
        self._scheduler: Scheduler | None = None
        self._came: dict[str, float] = {}  # name of a worker -> when its process came last, by time.monotonic
        self._began = time.monotonic()

    async def start(self, scheduler: Scheduler) -> None:
        """Remember the scheduler."""
        self._scheduler = scheduler

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:
        """Remember when a worker came."""
        state = scheduler.workers[worker]
        self._came[str(state.name)] = time.monotonic()
        hide_missing_pages(state, has_pages=True)

    def rows(self) -> list[Row]:
        """Return one row per worker, and one for each rank without any."""
        known = self._scheduler.workers.values() if self._scheduler is not None else ()
        there = {str(state.name): state for state in known}
        rows = [row for rank in self._ranks for row in self._of(rank, there)]
        ours = {name for rank in self._ranks for name in rank.workers}
        joined = {name: state for name, state in there.items() if name not in ours}
        return rows + [self._worker("", state.host, "worker", name, state) for name, state in joined.items()]

    def _of(self, rank: RankInfo, there: dict[str, WorkerState]) -> Iterator[Row]:
        for name in rank.workers:
            yield self._worker(str(rank.rank), rank.node, rank.role, name, there.get(name))
        if not rank.workers:
            yield self._without_worker(rank)

    def _worker(self, rank: str, node: str, role: str, name: str, state: WorkerState | None) -> Row:
        death = self._postmortem.deaths.get(name, _NEVER)
        if state is None:
            how = "dead" if death.count else "gone" if name in self._came else "starting"
            known: dict[str, Any] = {"state": how}
        else:
            known = measured(state, self._came.get(name, self._began))
        return Row(rank, node, role, name, **known, restarts=death.count, message=death.last)

    def _without_worker(self, rank: RankInfo) -> Row:
        memory, state = None, "running"  # a rank that is lost ends the run
        if rank.node == socket.gethostname():
            try:
                memory = psutil.Process(rank.pid).memory_info().rss
            except psutil.Error:
                state = "gone"
        return Row(
            str(rank.rank),
            rank.node,
            rank.role,
            worker="",
            state=state,
            pid=rank.pid,
            cpu=self._cpu() if "scheduler" in rank.role else None,
            memory=memory,
            memory_limit=rank.memory,
            uptime=time.monotonic() - self._began,
        )

    def _cpu(self) -> float | None:
        """Return what the scheduler uses of a core, in percent."""
        monitor: Any = self._scheduler.monitor if self._scheduler is not None else None
        cpu: float | None = monitor.recent().get("cpu") if monitor is not None else None
        return cpu
