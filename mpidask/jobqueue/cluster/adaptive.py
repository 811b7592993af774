"""Adaptive scaling by job: pending jobs are kept, busy ones left alone, idle ones retired later."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from dask.utils import parse_bytes, parse_timedelta
from distributed.deploy.adaptive import Adaptive

from mpidask.errors import BatchError
from mpidask.jobqueue.jobs.job import Job
from mpidask.jobqueue.jobs.spec import JobSpec

__all__ = ["POSITIONAL", "JobAdaptive", "is_adapting", "limits_in_workers", "telling"]

#: What SpecCluster.adapt takes by position, too.
POSITIONAL = (
    "Adaptive",
    "minimum",
    "maximum",
    "minimum_cores",
    "maximum_cores",
    "minimum_memory",
    "maximum_memory",
)

_COOLDOWN = 10  # times interval x wait_count
_STARTS = 2  # times what a job took to come up


class JobAdaptive(Adaptive):
    """Dask's Adaptive, deciding by job.

    cooldown: how long a job stays idle, or is pending without need, before it is closed. Default: ten times
              interval times wait_count, that is 30 s, and at least twice the time in which jobs come up
    """

    def __init__(self, cluster: Any, *, cooldown: str | float | None = None, **options: Any) -> None:
        super().__init__(cluster, **options)
        self.cluster: Any = cluster
        given = None if cooldown is None else float(parse_timedelta(cooldown, "seconds"))
        self._given = given
        self._idle_since: dict[str, float] = {}
        self._surplus_since: float | None = None

    @property
    def cooldown(self) -> float:
        """How long a job may be idle, in s."""
        if self._given is not None:
            return self._given
        patience = float(_COOLDOWN * (self.interval or 1) * self.wait_count)
        return max(patience, min(_STARTS * self.cluster.startup_time, 300.0))

    def jobs_for(self, workers: float) -> int:
        """Return how many jobs bring so many workers, within the limits."""
        size = self.cluster.workers_per_job
        most = math.inf if math.isinf(self.maximum) else max(self.maximum // size, math.ceil(self.minimum / size))
        return int(min(math.ceil(workers / size), most))

    async def recommendations(self, target: int) -> dict[str, Any]:
        """Return what is to be done: nothing, more jobs, or which to close."""
        wanted = self.jobs_for(target)
        planned = len(self.cluster.planned_jobs) + self.cluster.lost_jobs
        await self._notice_idle()
        if wanted == planned:
            self._surplus_since = None
            return {"status": "same"}
        if wanted > planned:
            self._surplus_since = None
            if self.cluster.reconciler.holds_back:
                return {"status": "same"}
            return {"status": "up", "n": wanted * self.cluster.workers_per_job}
        names = self._dispensable(planned - wanted)
        return {"status": "down", "workers": names} if names else {"status": "same"}

    def _dispensable(self, surplus: int) -> list[str]:
        """Return the jobs to close: those idle for long; if there have been too many for as long, pending ones."""
        now = time.monotonic()
        if self._surplus_since is None:
            self._surplus_since = now
        idle = sorted(self._idle_since, key=self._idle_since.__getitem__)
        names = [name for name in idle if now - self._idle_since[name] >= self.cooldown]
        if now - self._surplus_since >= self.cooldown:
            jobs = self.cluster.workers
            youngest = reversed(self.cluster.planned_jobs)  # the others have waited longer
            names += [name for name in youngest if name in jobs and not jobs[name].present]
        return names[:surplus]

    async def _notice_idle(self) -> None:
        """Note since when the workers of each job have had nothing to do."""
        processing = await self.scheduler.processing(workers=None)
        workers = self.cluster.scheduler_info["workers"]
        busy = {str(workers[address]["name"]) for address, tasks in processing.items() if tasks and address in workers}
        now = time.monotonic()
        idle = {}
        for name in self.cluster.planned_jobs:
            job: Job | None = self.cluster.workers.get(name)
            if job is not None and job.present and not busy & job.present:
                idle[name] = self._idle_since.get(name, now)
        self._idle_since = idle

    async def scale_down(self, workers: list[str]) -> None:  # type: ignore[override]  # as Adaptive calls it
        """Close jobs."""
        self._surplus_since = None
        await self.cluster.close_jobs(workers)

    async def scale_up(self, n: int) -> None:  # type: ignore[override]
        """Ask for so many workers."""
        try:
            await self.cluster.grow(n)
        except BatchError as error:
            self.cluster.reconciler.note_refusal(error)


#: Whether it is an Adaptive that asks for another size, and not the user.
_adapting: ContextVar[bool] = ContextVar("adapting", default=False)


def is_adapting() -> bool:
    """Whether whoever asks is an Adaptive of a class that `telling` has returned."""
    return _adapting.get()


def telling(kind: type[Adaptive]) -> type[Adaptive]:
    """Return a class of Adaptive whose calls of `scale` can be told from those of the user; JobAdaptive makes none."""
    if issubclass(kind, JobAdaptive):
        return kind

    async def adapt(self: Any) -> None:
        token = _adapting.set(True)
        try:
            await kind.adapt(self)
        finally:
            _adapting.reset(token)

    telling_class: Any = type(kind.__name__, (kind,), {"adapt": adapt, "__module__": kind.__module__})
    return telling_class


def limits_in_workers(given: Mapping[str, Any], spec: JobSpec) -> dict[str, Any]:
    """Return arguments of `adapt` whose limits are numbers of workers, instead of cores or memory.

    spec: the jobs'
    """
    left = dict(given)
    memory = parse_bytes(spec.memory_limit)
    for limit, tighter, rounded in (("minimum", max, math.ceil), ("maximum", min, math.floor)):
        limits = [left.get(limit)]
        if (cores := left.pop(f"{limit}_cores", None)) is not None:
            limits.append(rounded(cores / spec.threads))
        if (size := left.pop(f"{limit}_memory", None)) is not None:
            limits.append(rounded(parse_bytes(size) / memory))
        if len(limits) > 1:
            left[limit] = tighter(each for each in limits if each is not None)
    return left
