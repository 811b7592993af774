"""`HeldCluster`: Dask's cluster whose jobs are held at a plan, from its start to its end."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import math
import threading
from collections.abc import Awaitable, Mapping
from typing import Any, ClassVar

from dask.utils import parse_timedelta
from distributed.core import Status

from mpidask.compat.stepped_cluster import SteppedCluster
from mpidask.errors import BatchError, linked
from mpidask.jobqueue.cluster import scheduler_job, scheduler_options
from mpidask.jobqueue.cluster.job_factory import JobFactory
from mpidask.jobqueue.cluster.jobs_page import JobsPage
from mpidask.jobqueue.cluster.plan import Plan, Planned
from mpidask.jobqueue.cluster.reconciler import Reconciler
from mpidask.jobqueue.cluster.scheduler_job import SchedulerJob
from mpidask.jobqueue.cluster.settings import ClusterSettings
from mpidask.jobqueue.cluster.task_failures import fail_waiting_tasks
from mpidask.jobqueue.jobs import hooks
from mpidask.jobqueue.jobs.dispatcher import Dispatcher
from mpidask.jobqueue.jobs.job import Job
from mpidask.jobqueue.jobs.keys import KeyFiles
from mpidask.jobqueue.jobs.meant_system import system_for
from mpidask.jobqueue.jobs.worker_command import worker_command
from mpidask.security import credentials

__all__ = ["HeldCluster"]

logger = logging.getLogger("mpidask.jobqueue")

_ENCRYPTED = ("tls", "wss", "inproc")
_CLOSED = 10.0  # s in which jobs that were cancelled may take to leave the queue


class HeldCluster(SteppedCluster):
    """A cluster that submits what is planned, closes what is not, and replaces what has ended.

    Parameters
    ----------
    factory : JobFactory
        Makes the jobs.
    settings : ClusterSettings
        What has been settled about the cluster.
    remote_scheduler : mapping or bool
        Whether the scheduler is in a job of its own, or keywords of that job.
    scheduler_cls : type
        Class of the scheduler.
    name : str or None
        Name of the cluster.
    **options : Any
        Arguments of distributed's ``SpecCluster``.
    """

    __signature__: ClassVar[inspect.Signature | None] = None

    def __init__(
        self,
        factory: JobFactory,
        settings: ClusterSettings,
        remote_scheduler: Mapping[str, Any] | bool,  # noqa: FBT001
        *,
        scheduler_cls: type,
        name: str | None,
        **options: Any,
    ) -> None:
        self._factory = factory
        self._tls = settings.tls
        self._remembered: str | None = None
        self._scaler: Any = None  # what adapts the cluster
        self._changing = asyncio.Lock()
        self._waiting: asyncio.Task[None] | None = None  # it will carry out the plan
        self._noticing = False
        self._next = 0  # number of the next job
        self._numbering = threading.Lock()  # the user's thread asks for jobs, and the event loop's
        self.worker_prefix = name or type(self).__name__  # of the jobs' names
        self._plan = Plan(self.new_worker_spec)
        template = factory.template.spec
        self.dispatcher = Dispatcher(
            system_for(factory.kind.native_name(), template.keywords["profile"]), settings.owner, template.further_words
        )
        roles = ("worker", "scheduler") if remote_scheduler else ("worker",)
        self._key_files = KeyFiles(settings.tls.security, settings.shared, self.dispatcher.guarded, roles)
        interval = float(parse_timedelta(template.keywords["poll_interval"], "seconds"))
        self.reconciler = Reconciler(self, self._plan, self.dispatcher, interval, template.keywords["max_failures"])
        with_pages = "--no-dashboard" not in worker_command(template).split()
        page = JobsPage(lambda: self.jobs, lambda: self.reconciler.ended, pages=with_pages)
        scheduler = scheduler_options.spec(scheduler_cls, settings, page)
        if remote_scheduler:
            arguments = scheduler["options"]
            job = scheduler_job.make_job(remote_scheduler, factory, self.dispatcher)
            scheduler = scheduler_job.spec(job, arguments, self._key_files, gated=settings.gated, ports=settings.ports)
        super().__init__(
            scheduler=scheduler, worker=factory.spec(None), security=self._tls.security, name=name, **options
        )

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        hooks.remember(cls)
        if "__init__" in vars(cls):
            cls.__signature__ = None  # it has its own, and not that of its base

    # What is planned.

    @property
    def worker_spec(self) -> dict[str, Planned]:
        """The jobs that there should be: name -> Dask's specification."""
        return self._plan.jobs

    @worker_spec.setter
    def worker_spec(self, jobs: dict[str, Planned]) -> None:
        self._plan.jobs = jobs

    def new_worker_spec(self, group: str | None = None) -> dict[str, Planned]:
        """Return name and specification of the next job; no name is used twice.

        Parameters
        ----------
        group : str, optional
            The kind of workers. Default: that of the cluster's own keywords.

        Returns
        -------
        dict
            Name -> Dask's specification.
        """
        with self._numbering:
            number, self._next = self._next, self._next + 1
        spec = self._factory.spec(group) if group else self.new_spec
        name = f"{self.worker_prefix}-{group}-{number}" if group else self.worker_name(number)
        return {name: {**spec, "number": number}}

    @property
    def planned_jobs(self) -> list[str]:
        """The names of the jobs that there should be, of no group, oldest first."""
        return self._plan.names(None)

    @property
    def lost_jobs(self) -> int:
        """How many jobs of no group have ended and are to be replaced."""
        return self._plan.lost(None)

    @property
    def workers_per_job(self) -> int:
        """Workers in each job that is of no group."""
        return len(self.new_spec.get("group", [""]))

    async def grow(self, workers: int) -> None:
        """Plan more jobs, and submit them.

        Parameters
        ----------
        workers : int
            How many workers there are to be, of no group.

        Raises
        ------
        BatchError
            The batch system refuses.
        """
        wanted = math.ceil(workers / self.workers_per_job)
        self._plan.add(wanted - len(self.planned_jobs) - self.lost_jobs)
        await self.carry_out()

    async def close_jobs(self, names: list[str]) -> None:
        """Plan without these jobs, and close them.

        Parameters
        ----------
        names : list of str
            Names of jobs.
        """
        self._plan.drop(names)
        await self.carry_out()

    async def scale_down(self, workers: list[str]) -> None:
        """Close the jobs of these workers.

        Parameters
        ----------
        workers : list of str
            Names of workers or jobs.
        """
        jobs = {name for name, job in self.workers.items() if any(name == each or job.owns(each) for each in workers)}
        await self.close_jobs(list(jobs))

    # Its start.

    async def begin(self) -> None:
        """Start the scheduler, connect to it, and begin to watch."""
        first = self.status == Status.created
        try:
            await super().begin()
        except asyncio.CancelledError:  # Ctrl-C: nobody has the cluster in hand, so nobody else would close it
            if first:
                self.status = Status.failed
                await self.end()
            raise
        if first and self._tls.keys is not None:
            self._remembered = self.scheduler_address
            credentials.remember(self._remembered, self._tls.keys)
        if first and self._warning is not None:
            logger.warning("%s", linked(self._warning, "tls-is-off"))
        self.reconciler.start()

    # What is carried out.

    def carry_out(self) -> Awaitable[None]:
        """Submit the jobs that are missing, and close those that are too many.

        Returns
        -------
        Awaitable
            The same for all that ask before it begins.
        """
        if self._waiting is None or self._waiting.done():  # done: it was cancelled before it began
            self._waiting = asyncio.ensure_future(self._carry_out())
        return self._waiting

    async def _carry_out(self) -> None:
        async with self._changing:
            self._waiting = None
            await self._close_surplus()
            await self._open_missing()

    async def _close_surplus(self) -> None:
        names = [name for name in self.workers if name not in self.worker_spec]
        jobs = [self.workers[name] for name in names]
        if not jobs:
            return
        patience = 0.0
        self.reconciler.notice_workers(jobs)
        present = {name for job in jobs for name in job.present}
        workers = self.scheduler_info["workers"]
        addresses = [address for address, worker in workers.items() if str(worker["name"]) in present]
        if addresses and self.status == Status.running:
            with contextlib.suppress(OSError, asyncio.TimeoutError):
                await self.scheduler_comm.retire_workers(workers=addresses, close_workers=True, remove=True)
                patience = math.inf
        await self.dispatcher.cancel(jobs, patience)
        for name, job in zip(names, jobs, strict=True):
            job.status = Status.closed
            if self.workers.pop(name, None) is not None:  # the reconciler may have seen it end
                self.reconciler.ended.append(job)

    async def _open_missing(self) -> None:
        missing = {name: spec for name, spec in self.worker_spec.copy().items() if name not in self.workers}
        if not missing:
            return
        security = self._key_files.security
        where = scheduler_options.where(self.scheduler, self.scheduler_spec["options"])
        jobs = {}
        for name, spec in missing.items():
            ours = {"name": name, "dispatcher": self.dispatcher, "number": spec["number"], "security": security}
            jobs[name] = self._factory.make(spec["of"], *where, **ours)
            jobs[name].restarts = spec.get("restarts", 0)
        try:
            await self.dispatcher.submit(list(jobs.values()))
        finally:
            await self.dispatcher.settle()
            self.workers |= {name: job for name, job in jobs.items() if job.id or job.unclear}
            self._plan.drop(jobs.keys() - self.workers.keys())  # what cannot be had is not planned either

    def workers_changed(self) -> None:
        """Take notice of workers that have come or gone. The reconciler looks after a job whose worker has gone."""
        if not self._noticing:  # once for all that come together
            self._noticing = True
            asyncio.get_running_loop().call_soon(self._notice_workers)

    def _notice_workers(self) -> None:
        self._noticing = False
        self.reconciler.notice_workers(self.jobs)

    @property
    def jobs(self) -> list[Job]:
        """The jobs that wait or run."""
        return [job for job in list(self.workers.values()) if isinstance(job, Job)]

    def _present(self, name: str) -> set[str]:
        """Return the workers of a job that are there."""
        job = self.workers.get(name)
        return job.present if job is not None else set()

    @property
    def _warning(self) -> str | None:
        """What is said where connections are not encrypted."""
        address = getattr(self, "scheduler_address", "")
        if "://" not in address or address.startswith(_ENCRYPTED):
            return None
        return f"TLS is off: whoever can connect to {address} can run code as you"

    async def fail_tasks(self, failure: BatchError) -> None:
        """End the tasks that wait for workers with an error.

        Parameters
        ----------
        failure : BatchError
            Why no more jobs are submitted.
        """
        if not self.jobs and not self.scheduler_info["workers"]:
            await fail_waiting_tasks(self.scheduler_comm, failure)

    # Its end.

    def _stop_adapting(self, **why: str) -> None:
        if self._scaler is not None:
            self._scaler.stop(**why)

    async def end(self) -> None:
        """Close scheduler and workers, cancel all jobs, and wait until the queue has none of them."""
        if self.status in (Status.closing, Status.closed):
            await super().end()
            return
        await self.reconciler.stop()
        jobs = self.jobs
        self._stop_adapting()
        was_running = self.status == Status.running
        if was_running:
            async with self._changing:  # a submission that is under way comes to its end first
                jobs = self.jobs
                self.worker_spec.clear()
                self.workers.clear()
                await self.dispatcher.cancel([job for job in jobs if job.arrived_at is None])
        self.reconciler.ended.extend(jobs)
        try:
            await super().end()  # the workers close with the scheduler: their data need no new home
        finally:
            if isinstance(self.scheduler, SchedulerJob):  # its start may have been cut off
                await self.scheduler.close()
            await self.dispatcher.cancel([job for job in jobs if not job.cancelled], math.inf if was_running else 0.0)
            for job in jobs:
                job.status = Status.closed
        self.dispatcher.end(released=await self.dispatcher.confirm(jobs, _CLOSED))  # the keys go with it
        if self._remembered is not None:
            credentials.forget(self._remembered)
