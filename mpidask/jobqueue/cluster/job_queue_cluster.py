"""`JobQueueCluster`: a Dask cluster whose workers are batch jobs, as its users see it."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Mapping
from typing import Any, ClassVar

import dask.config
from dask.utils import parse_bytes
from distributed.core import Status
from distributed.scheduler import Scheduler
from distributed.security import Security
from distributed.utils import NoOpAwaitable

from mpidask.dashboard import links
from mpidask.dashboard.notebook import DashboardWay
from mpidask.errors import BatchError, linked
from mpidask.jobqueue.cluster.adaptive import POSITIONAL, JobAdaptive, is_adapting, limits_in_workers, telling
from mpidask.jobqueue.cluster.job_factory import JobFactory, class_of_jobs
from mpidask.jobqueue.cluster.reporting_cluster import ReportingCluster
from mpidask.jobqueue.cluster.scheduler_job import SchedulerJob
from mpidask.jobqueue.cluster.scheduler_options import link, refuse_arguments, where
from mpidask.jobqueue.cluster.settings import ClusterSettings
from mpidask.jobqueue.jobs import hooks
from mpidask.jobqueue.jobs.job import Job

__all__ = ["JobQueueCluster"]

logger = logging.getLogger("mpidask.jobqueue")


class JobQueueCluster(ReportingCluster):
    """A Dask cluster whose workers are batch jobs; the scheduler is in this process.

    Parameters
    ----------
    n_workers : int, default 0
        Workers to begin with; see `scale`.
    job_cls : type, optional
        Class of the jobs. The classes for each batch system set it.
    loop : tornado.ioloop.IOLoop, optional
        Event loop of the cluster. Default: one in a thread.
    security : distributed.Security or bool, optional
        Keys for TLS. Default: those in Dask's configuration, else some are made for this cluster, unless
        ``mpidask.tls`` is false in the configuration. False: no TLS, everybody can connect.
    shared_temp_directory : str, optional
        Where the directory for key files is made. Default: they are in the cluster's own directory.
    silence_logs : str, default "error"
        Level below which Dask's servers in this process log nothing.
    name : str, optional
        Name of the cluster; those of jobs and workers begin with it.
    asynchronous : bool, default False
        The cluster is for use in an event loop.
    dashboard_address : str, optional
        Refused: pass it through `scheduler_options`.
    host : str, optional
        Refused: pass it through `scheduler_options`.
    scheduler_options : mapping, optional
        Arguments of Dask's scheduler, such as ``{"port": 8786, "dashboard_address": ":8787"}``.
    scheduler_cls : type, default distributed.Scheduler
        Class of the scheduler.
    interface : str, optional
        Network interface of scheduler and workers, such as ``"ib0"``.
    protocol : str, optional
        Dask's communication protocol. Default: ``tls``; ``tcp`` means ``tls`` where there are keys.
    config_name : str, optional
        Section of the configuration. Default: that of the batch system.
    groups : mapping, optional
        Further kinds of workers: name -> keywords that differ; see ``scale(..., group=NAME)``.
    remote_scheduler : bool or mapping, default False
        Put the scheduler into a job of its own; a mapping has keywords for that job.
    **job_kwargs : Any
        Keywords of the jobs: see the class of the batch system, such as `SLURMCluster`.

    Attributes
    ----------
    dispatcher : Dispatcher
        Submits and cancels the jobs.
    groups : dict
        Name of a group -> keywords of its jobs.

    Raises
    ------
    ArgumentError
        An argument cannot be used (a ValueError).
    BatchError
        The batch system refuses the first jobs.

    See Also
    --------
    MPICluster : One large job in place of many small ones.

    Examples
    --------
    >>> with SLURMCluster(cores=24, memory="100GB", processes=6) as cluster:  # doctest: +SKIP
    ...     cluster.scale(jobs=10)
    ...     client = cluster.get_client()
    """

    job_cls: type[Job] | None = None
    #: Section of the configuration, if a derived class has one of its own.
    config_name: ClassVar[str | None] = None

    _way: DashboardWay | None = None

    def __init__(  # noqa: PLR0913, PLR0917 - dask-jobqueue's signature
        self,
        n_workers: int = 0,
        job_cls: type[Job] | None = None,
        loop: Any = None,
        security: Security | bool | None = None,  # noqa: FBT001
        shared_temp_directory: str | None = None,
        silence_logs: str = "error",
        name: str | None = None,
        asynchronous: bool = False,  # noqa: FBT001, FBT002
        dashboard_address: str | None = None,
        host: str | None = None,
        scheduler_options: Mapping[str, Any] | None = None,
        scheduler_cls: type = Scheduler,
        interface: str | None = None,
        protocol: str | None = None,
        config_name: str | None = None,
        *,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        remote_scheduler: Mapping[str, Any] | bool = False,
        **job_kwargs: Any,
    ) -> None:
        self.status = Status.closed  # there is nothing to close until the arguments have been looked at
        hooks.refuse(type(self), hooks.REFUSED_IN_CLUSTERS)
        refuse_arguments(type(self), dashboard_address=dashboard_address, host=host)
        owner, config_name = type(self).__name__, config_name or type(self).config_name
        self.job_cls = kind = class_of_jobs(job_cls or type(self).job_cls, owner)
        given: dict[str, Any] = {"interface": interface, "scheduler_options": scheduler_options}
        given |= {"shared_temp_directory": shared_temp_directory}
        given |= {name: job_kwargs.get(name) for name in ("port_range", "profile")}
        settings = ClusterSettings.settle(owner, kind, config_name, given, security=security, protocol=protocol)
        self._job_kwargs = {**job_kwargs, **settings.of_jobs}
        super().__init__(
            JobFactory(kind, self._job_kwargs, groups),
            settings,
            remote_scheduler,
            scheduler_cls=scheduler_cls,
            name=name,
            loop=loop,
            silence_logs=silence_logs,
            asynchronous=asynchronous,
        )
        if n_workers:
            self._scale_or_close(n_workers)

    def _scale_or_close(self, n_workers: int) -> None:
        try:
            self.scale(n_workers)
        except BatchError:
            self.close()
            raise

    # What users of dask-jobqueue look at.

    @property
    def groups(self) -> dict[str, dict[str, Any]]:
        """Name of a group -> keywords of its jobs."""
        return self._factory.groups

    @property
    def dashboard_link(self) -> str:
        """Link to the dashboard, for its user alone: in JupyterLab below its address, else on the scheduler's node."""
        options = self.scheduler_spec["options"]
        shown = link(super().dashboard_link, options.get("options", options))
        if not shown or links.is_of_user(dask.config.get("distributed.dashboard.link", links.STANDARD)):
            return shown  # Dask has filled in the user's
        if self._way is None:
            self._way = DashboardWay(self.scheduler_address, self.security, self.loop)
        return self._way.link(shown, self.scheduler.host if isinstance(self.scheduler, SchedulerJob) else "")

    async def end(self) -> None:
        """Close the cluster, and the port that leads to its dashboard, if there is one."""
        if self._way is not None:
            self._way.close()
        await super().end()

    @property
    def _dummy_job(self) -> Job:
        """A job like those that are submitted, keys included."""
        return self._sample(self._key_files.security)

    def _sample(self, security: Security | None = None) -> Job:
        addresses = where(getattr(self, "scheduler", None), self.scheduler_spec["options"])
        own: dict[str, Any] = {"dispatcher": self.dispatcher, "number": self._next, "security": security}
        return self._factory.make(None, *addresses, **own)

    @property
    def job_header(self) -> str:
        """The option lines of the jobs."""
        return self._sample().job_header

    def job_script(self) -> str:
        """Return a job script like those that are submitted.

        Returns
        -------
        str
            The text of the script.
        """
        return self._dummy_job.job_script()

    @property
    def job_name(self) -> str:
        """The jobs' name for the batch system."""
        return self._sample().job_name

    # Its size.

    def scale(  # type: ignore[override]  # dask-jobqueue's signature, and groups
        self,
        n: int | None = None,
        jobs: int = 0,
        memory: str | None = None,
        cores: int | None = None,
        group: str | None = None,
    ) -> Awaitable[None] | None:
        """Scale the cluster, and wait until the jobs are submitted.

        Parameters
        ----------
        n : int, optional
            Workers; rounded up to whole jobs.
        jobs : int, default 0
            Jobs.
        memory : str, optional
            Memory in all, such as ``"1 TB"``.
        cores : int, optional
            Cores in all.
        group : str, optional
            The kind of workers, if there are several.

        Returns
        -------
        Awaitable or None
            With ``asynchronous=True`` an awaitable, which raises when it is awaited.

        Raises
        ------
        ArgumentError
            There is no such group.
        BatchError
            The batch system refuses.

        Examples
        --------
        >>> cluster.scale(jobs=10)  # doctest: +SKIP
        """
        wanted = self._jobs(n, jobs, memory, cores, group)
        if not is_adapting():  # it is the user who asks
            self.reconciler.reset_failures()
            self._stop_adapting(reason="scaled by hand")
        self._aim(wanted, group)
        return self._submitted()

    def _aim(self, wanted: int, group: str | None) -> None:
        """Plan so many jobs of a group. The first to go are those without workers, the youngest of them."""
        is_open = self.status not in (Status.closing, Status.closed)
        self._plan.resize(wanted if is_open else 0, group, lambda name: len(self._present(name)))

    def _jobs(self, n: int | None, jobs: int, memory: str | None, cores: int | None, group: str | None) -> int:
        self._factory.keywords(group)  # refuses a group that is not there
        if not (n or memory or cores):
            return jobs if n is None else 0
        job = self._factory.make(group)
        wanted = jobs if n is None else math.ceil(int(n) / job.worker_processes)
        if memory is not None:
            wanted = max(wanted, math.ceil(parse_bytes(memory) / job.worker_memory))
        if cores is not None:
            wanted = max(wanted, math.ceil(cores / job.worker_cores))
        return wanted

    def _submitted(self) -> Awaitable[None] | None:
        """Carry out what is planned; wait for it where nobody else can."""
        if self.status == Status.created:
            return NoOpAwaitable() if self.asynchronous else None
        if self.asynchronous or self.called_from_running_loop:
            task = asyncio.ensure_future(self.carry_out())
            task.add_done_callback(_report)
            return task
        self.sync(self.carry_out)
        return None

    def adapt(
        self,
        *args: Any,
        minimum_jobs: int | None = None,
        maximum_jobs: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Scale with the load, by whole jobs.

        Parameters
        ----------
        *args : Any
            Arguments of distributed's ``SpecCluster.adapt``.
        minimum_jobs : int, optional
            Least number of jobs.
        maximum_jobs : int, optional
            Largest number of jobs.
        **kwargs : Any
            ``minimum`` and ``maximum`` (workers), ``minimum_cores``, ``maximum_memory``, ... as in distributed's
            ``SpecCluster.adapt``; ``cooldown``: how long a job may be idle; all else is for distributed's `Adaptive`.

        Returns
        -------
        distributed.deploy.Adaptive
            What scales the cluster.

        Examples
        --------
        >>> cluster.adapt(minimum_jobs=1, maximum_jobs=20)  # doctest: +SKIP
        """
        given = {**dict(zip(POSITIONAL, args, strict=False)), **kwargs}
        if minimum_jobs is not None:
            given["minimum"] = minimum_jobs * self.workers_per_job
        if maximum_jobs is not None:
            given["maximum"] = maximum_jobs * self.workers_per_job
        kind = telling(given.pop("Adaptive", JobAdaptive))
        self.reconciler.reset_failures()
        self._scaler = super().adapt(kind, **limits_in_workers(given, self._factory.make().spec))
        return self._scaler


def _report(task: asyncio.Future[None]) -> None:
    """Say what nobody may have awaited."""
    if not task.cancelled() and (error := task.exception()) is not None:
        key = getattr(error, "key", "report-a-defect")
        logger.error("%s", linked(getattr(error, "what", str(error)), key))
