"""`JobQueueCluster`: Dask's SpecCluster whose workers are batch jobs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import statistics
from collections.abc import Awaitable, Mapping
from typing import Any, ClassVar, Literal

from dask.utils import format_bytes, parse_bytes, parse_timedelta
from distributed.core import Status
from distributed.deploy.cluster import Cluster
from distributed.deploy.spec import SpecCluster
from distributed.protocol.pickle import dumps
from distributed.scheduler import Scheduler
from distributed.security import Security
from distributed.utils import NoOpAwaitable

from mpidask.errors import ArgumentError, BatchError
from mpidask.jobqueue.cluster import report
from mpidask.jobqueue.cluster import scheduler_options as of_scheduler
from mpidask.jobqueue.cluster.adaptive import JobAdaptive
from mpidask.jobqueue.cluster.jobs_page import JobsPage
from mpidask.jobqueue.cluster.reconciler import Reconciler
from mpidask.jobqueue.cluster.scheduler_job import SchedulerJob
from mpidask.jobqueue.jobs import hooks, keys
from mpidask.jobqueue.jobs.dispatcher import Dispatcher, further, system_for
from mpidask.jobqueue.jobs.job import Job
from mpidask.jobqueue.keywords.table import once, settle_one
from mpidask.security import credentials

__all__ = ["JobQueueCluster"]

logger = logging.getLogger("mpidask.jobqueue")

_NO_ADDRESS = "tcp://<insert-scheduler-address-here>:8786"
_ENCRYPTED = ("tls", "wss", "inproc")
_CLOSED = 10.0  # s in which jobs that were cancelled may take to leave the queue


class JobQueueCluster(SpecCluster):
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
    scheduler: Any
    scheduler_comm: Any
    _adaptive: Any

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
        self.job_cls = self._job_class = self._class_of_jobs(job_cls)
        self._warned: set[str] = set()
        self._refuse_scheduler_arguments(dashboard_address=dashboard_address, host=host)
        config_name = config_name or type(self).config_name
        setting = _Setting(self._job_class, config_name or self._job_class.default_config_name(), type(self).__name__)
        interface = setting.get("interface", interface)
        options = setting.get("scheduler_options", scheduler_options)
        security = options.get("security") if security is None else security
        protocol = options.get("protocol") if protocol is None else protocol
        self._tls = keys.settle(protocol, security=security)
        self._remembered: str | None = None
        job_kwargs |= {"config_name": config_name, "interface": interface, "protocol": self._tls.protocol}
        self._job_kwargs = job_kwargs
        self.groups = {group: {**job_kwargs, **given} for group, given in _mappings(groups).items()}
        self._next = 0
        self.missing: list[dict[str, Any]] = []
        self._noticing = False
        template = self._make(_NO_ADDRESS, name="dummy-name", **job_kwargs)  # refuses what cannot be used
        for given in self.groups.values():
            self._make(_NO_ADDRESS, name="dummy-name", **given)
        native = self._job_class.native_name()
        self.dispatcher = Dispatcher(system_for(native), type(self).__name__, further(template))
        shared = setting.get("shared_temp_directory", shared_temp_directory)
        roles = ("worker", "scheduler") if remote_scheduler else ("worker",)
        self._key_files = keys.KeyFiles(self._tls.security, shared, self.dispatcher, roles)
        settled = template.description.keywords
        self.reconciler = Reconciler(
            self, float(parse_timedelta(settled["poll_interval"], "seconds")), settled["max_failures"]
        )
        with_pages = "--no-dashboard" not in template.description.command().split()
        page = JobsPage(lambda: self.jobs, lambda: self.reconciler.ended, pages=with_pages)
        arguments = of_scheduler.arguments(options, self._tls, interface)
        scheduler = {"cls": of_scheduler.maker(scheduler_cls, options, page), "options": arguments}
        if remote_scheduler:
            scheduler = self._remote(remote_scheduler, arguments, gated="http_prefix" not in options)
        self.status = Status.created
        super().__init__(
            scheduler=scheduler,
            worker=self._spec_of(None),
            loop=loop,
            security=self._tls.security,
            silence_logs=silence_logs,
            asynchronous=asynchronous,
            name=name,
        )
        if n_workers:
            try:
                self.scale(n_workers)
            except BatchError:
                self.close()
                raise

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        hooks.remember(cls)

    # What it is made of.

    def _class_of_jobs(self, given: type[Job] | None) -> type[Job]:
        found = given or type(self).job_cls
        if found is None:
            raise ArgumentError(
                f"no Job type is known: the class variable job_cls is not set in {type(self).__name__}",
                "use SLURMCluster, PBSCluster, ..., set job_cls in the derived class, or pass job_cls=",
            )
        if not isinstance(found, type) or not issubclass(found, Job):
            raise ArgumentError(
                f"job_cls is {found!r}", "derive the class of the jobs from one of mpidask.jobqueue, such as SLURMJob"
            )
        return found

    def _make(self, address: str, **given: Any) -> Job:
        """Return a job that is not submitted. What it warns of has been said once for the cluster."""
        with once(self._warned):
            return self._job_class(address, **given)

    def _refuse_scheduler_arguments(self, **given: str | None) -> None:
        for key, value in given.items():
            if value is not None:
                raise ArgumentError(
                    f"pass {key!r} through 'scheduler_options'",
                    f"{type(self).__name__}(..., scheduler_options={{{key!r}: {value!r}}})",
                )

    def _remote(
        self, wanted: Mapping[str, Any] | Literal[True], arguments: Mapping[str, Any], *, gated: bool
    ) -> dict[str, Any]:
        if not isinstance(wanted, Mapping | bool):
            raise ArgumentError(f"remote_scheduler is {wanted!r}", "True, False or a mapping of keywords is needed")
        given = dict(wanted) if isinstance(wanted, Mapping) else {}
        given = {**self._job_kwargs, "nodes": 1, "ranks_per_node": 1, **given}
        job = self._make("", name="scheduler", dispatcher=self.dispatcher, number=-1, **given)
        options = {"job": job, "options": arguments, "keys": self._key_files, "gated": gated}
        return {"cls": SchedulerJob, "options": options}

    def _spec_of(self, group: str | None) -> dict[str, Any]:
        """Return Dask's specification of a job of a group."""
        given = self.groups[group] if group else self._job_kwargs
        spec: dict[str, Any] = {"cls": self._job_class, "options": given}
        suffixes = self._make(_NO_ADDRESS, name="", **given).description.suffixes
        if suffixes != [""]:
            spec["group"] = suffixes
        return spec

    @property
    def dashboard_link(self) -> str:
        """Link to the dashboard, for its user alone; on loopback unless the options of the scheduler say otherwise."""
        options = self.scheduler_spec["options"]
        return of_scheduler.link(super().dashboard_link, options.get("options", options))

    @property
    def _dummy_job(self) -> Job:
        """A job like those that are submitted, keys included: users of dask-jobqueue look at it."""
        return self._sample(self._key_files.security)

    def _sample(self, security: Security | None = None) -> Job:
        address = getattr(getattr(self, "scheduler", None), "address", None)
        return self._make(
            address or _NO_ADDRESS,
            name="dummy-name",
            dispatcher=getattr(self, "dispatcher", None),
            number=self._next,
            security=security,
            **self._job_kwargs,
        )

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

    @property
    def workers_per_job(self) -> int:
        """Workers in each job that is of no group."""
        return len(self.new_spec.get("group", [""]))

    # What is planned.

    def new_worker_spec(self, group: str | None = None) -> dict[str, Any]:
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
        number = self._next
        name = f"{self._name}-{group}-{number}" if group else self._new_worker_name(number)
        self._next += 1
        spec = self._spec_of(group) if group else self.new_spec
        return {name: {**spec, "number": number}}

    def _new_worker_name(self, worker_number: int) -> str:
        return f"{self._name}-{worker_number}"

    def _of_group(self, group: str | None) -> list[str]:
        spec = self._spec_of(group) if group else self.new_spec
        return [name for name, each in self.worker_spec.items() if each["options"] is spec["options"]]

    @property
    def planned_jobs(self) -> list[str]:
        """The names of the jobs that there should be, of no group, oldest first."""
        return self._of_group(None)

    @property
    def lost_jobs(self) -> int:
        """How many jobs of no group have ended and are to be replaced."""
        return sum(spec["options"] is self._job_kwargs for spec in self.missing)

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
            The kind of workers that is meant, if there are several.

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
        >>> cluster.scale(memory="1 TB")  # doctest: +SKIP
        """
        if group is not None and group not in self.groups:
            raise ArgumentError(f"there is no group {group!r}", f"there are: {', '.join(self.groups) or 'none'}")
        if self._adaptive is None or not self._adaptive._adapting:  # it is the user who asks
            self.reconciler.reset_failures()
            if self._adaptive is not None:
                self._adaptive.stop(reason="scaled by hand")
        self._aim(self._jobs(n, jobs, memory, cores, group), group)
        return self._carry_out()

    def _jobs(self, n: int | None, jobs: int, memory: str | None, cores: int | None, group: str | None) -> int:
        if not (n or jobs or memory or cores):
            return 0
        job = self._make(_NO_ADDRESS, name="", **(self.groups[group] if group else self._job_kwargs))
        wanted = jobs if n is None else math.ceil(int(n) / job.worker_processes)
        if memory is not None:
            wanted = max(wanted, math.ceil(parse_bytes(memory) / job.worker_memory))
        if cores is not None:
            wanted = max(wanted, math.ceil(cores / job.worker_cores))
        return wanted

    def _aim(self, wanted: int, group: str | None) -> None:
        """Plan so many jobs of a group. The first to go are those without workers, the youngest of them."""
        self.missing = [spec for spec in self.missing if spec["options"] is not self._spec_of(group)["options"]]
        names = self._of_group(group)
        youngest = {name: -age for age, name in enumerate(names)}
        dispensable = sorted(
            names, key=lambda name: (len(getattr(self.workers.get(name), "present", ())), youngest[name])
        )
        for name in dispensable[: max(0, len(names) - wanted)]:
            del self.worker_spec[name]
        if self.status not in (Status.closing, Status.closed):
            for _ in range(wanted - len(names)):
                self.worker_spec.update(self.new_worker_spec(group))

    def _carry_out(self) -> Awaitable[None] | None:
        if self.status == Status.created:
            return NoOpAwaitable() if self.asynchronous else None
        if self.asynchronous or self.called_from_running_loop:
            task = asyncio.ensure_future(self._correct_state())
            task.add_done_callback(_report)
            return task
        self.sync(self._correct_state)
        return None

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
        for _ in range(wanted - len(self.planned_jobs) - self.lost_jobs):
            self.worker_spec.update(self.new_worker_spec())
        await self._correct_state()

    async def close_jobs(self, names: list[str]) -> None:
        """Plan without these jobs, and close them.

        Parameters
        ----------
        names : list of str
            Names of jobs.
        """
        for name in names:
            self.worker_spec.pop(name, None)
        await self._correct_state()

    async def scale_down(self, workers: list[str]) -> None:
        """Close the jobs of these workers.

        Parameters
        ----------
        workers : list of str
            Names of workers or jobs.
        """
        jobs = {name for name, job in self.workers.items() if any(name == each or job.owns(each) for each in workers)}
        await self.close_jobs(list(jobs))

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
        if minimum_jobs is not None:
            kwargs["minimum"] = minimum_jobs * self.workers_per_job
        if maximum_jobs is not None:
            kwargs["maximum"] = maximum_jobs * self.workers_per_job
        if not args:
            kwargs.setdefault("Adaptive", JobAdaptive)
        self.reconciler.reset_failures()
        return super().adapt(*args, **kwargs)

    def _threads_per_worker(self) -> int:
        return self._sample().description.threads

    def _memory_per_worker(self) -> int:
        return int(parse_bytes(self._sample().description.memory_limit))

    # What is carried out.

    async def _start(self) -> None:
        first = self.status == Status.created
        try:
            await super()._start()
        except asyncio.CancelledError:  # Ctrl-C: nobody has the cluster in hand, so nobody else would close it
            if first:
                self.status = Status.failed
                await self._close()
            raise
        if first and self._tls.keys is not None:
            self._remembered = self.scheduler_address
            credentials.remember(self._remembered, self._tls.keys)
        if first and self._warning is not None:
            logger.warning("%s", self._warning)
        self.reconciler.start()

    def _correct_state(self) -> Any:
        waiting = self._correct_state_waiting
        if waiting is not None and waiting.done():  # it was cancelled before it began
            self._correct_state_waiting = None
        return super()._correct_state()

    async def _correct_state_internal(self) -> None:
        async with self._lock:
            self._correct_state_waiting = None
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
        if all(name in self.workers for name in self.worker_spec):
            return
        address = getattr(self.scheduler, "contact_address", None) or self.scheduler.address
        security = self._key_files.security
        jobs = {}
        for name, spec in self.worker_spec.items():
            if name not in self.workers:
                ours = {"name": name, "dispatcher": self.dispatcher, "number": spec["number"], "security": security}
                jobs[name] = self._make(address, **ours, **spec["options"])
                jobs[name].restarts = spec.get("restarts", 0)
        try:
            await self.dispatcher.submit(list(jobs.values()))
        finally:
            await self.dispatcher.settle()
            for name, job in jobs.items():
                if job.id or job.unclear:
                    self.workers[name] = job
                else:  # it was refused: what cannot be had is not planned either
                    self.worker_spec.pop(name, None)

    @property
    def lacks_jobs(self) -> bool:
        """Whether jobs that have ended are to be replaced."""
        return bool(self.missing)

    def replenish(self, most: int | None = None) -> dict[str, Any]:
        """Plan jobs in place of those that have ended.

        Parameters
        ----------
        most : int, optional
            How many at most. Default: all.

        Returns
        -------
        dict
            Name -> Dask's specification of the planned jobs.
        """
        lost, self.missing = self.missing[:most], self.missing[len(self.missing[:most]) :]
        planned = {}
        for spec in lost:
            group = next((name for name, given in self.groups.items() if given is spec["options"]), None)
            ((name, fresh),) = self.new_worker_spec(group).items()
            planned[name] = {**fresh, "restarts": spec["restarts"]}
        self.worker_spec.update(planned)
        return planned

    def _update_worker_status(self, op: str, msg: Any) -> None:
        """Note workers that come and go. A job whose worker has gone is looked after by the reconciler."""
        Cluster._update_worker_status(self, op, msg)
        if not self._noticing:  # once for all that come together
            self._noticing = True
            asyncio.get_running_loop().call_soon(self._notice_workers)

    def _notice_workers(self) -> None:
        self._noticing = False
        self.reconciler.notice_workers(self.jobs)

    # What is said of it.

    @property
    def jobs(self) -> list[Job]:
        """The jobs that wait or run."""
        return [job for job in self.workers.values() if isinstance(job, Job)]

    @property
    def failure(self) -> BatchError | None:
        """Why no more jobs are submitted; None while they are."""
        return self.reconciler.failure

    @property
    def _shape(self) -> str:
        """What is asked for, the walltime among it: a default may hide in the configuration."""
        job = self._sample()
        walltime = job.description.keywords.get("walltime") or "the site's"
        size = f"{job.description.workers} workers, {job.worker_cores} cores, {format_bytes(job.worker_memory)}"
        return f"each job: {size}, walltime {walltime}"

    @property
    def _said(self) -> str | None:
        return None if self.failure is None else self.failure.what

    @property
    def startup_time(self) -> float:
        """Time from the submission of a job to its first worker, in s: the median; 0 before the first."""
        every = [*self.workers.values(), *self.reconciler.ended]
        times = [job.arrived_at - job.submitted for job in every if job.arrived_at is not None]
        return statistics.median(times) if times else 0.0

    @property
    def _notes(self) -> list[str]:
        """What else is worth a line each: whether everybody can connect, where the scheduler is."""
        return [note for note in (self._warning, getattr(self.scheduler, "note", None)) if note]

    @property
    def _warning(self) -> str | None:
        """What is said where connections are not encrypted."""
        address = getattr(self, "scheduler_address", "")
        if "://" not in address or address.startswith(_ENCRYPTED):
            return None
        return f"TLS is off: whoever can connect to {address} can run code as you"

    def status_report(self) -> str:
        """Return how each job stands: why it waits, how many of its workers have joined, how it failed.

        Returns
        -------
        str
            A table.
        """
        return "\n".join(
            [self._shape, *self._notes, report.as_text(self.jobs, list(self.reconciler.ended), self._said)]
        )

    def __repr__(self) -> str:
        workers = self.scheduler_info["workers"]
        threads = sum(worker["nthreads"] for worker in workers.values())
        expected = sum(job.worker_processes for job in self.jobs)
        address = getattr(self, "scheduler_address", "<Not Connected>")
        text = f"{type(self).__name__}({self._cluster_info['name']}, {address!r}, workers={len(workers)} of {expected}"
        tls = ", TLS off" if self._warning else ""
        return f"{text}, threads={threads}{tls}, jobs: {report.summary(self.jobs)})"

    def _repr_html_(self, cluster_status: str | None = None) -> str:
        said = report.as_html(self.jobs, list(self.reconciler.ended), self._said, self._notes)
        return str(super()._repr_html_(cluster_status)) + said

    async def _get_logs(self, cluster: bool = True, scheduler: bool = True, workers: Any = True) -> Any:  # noqa: FBT001, FBT002
        from distributed.utils import Log

        logs = await super()._get_logs(cluster=cluster, scheduler=scheduler, workers=workers)
        if workers is True:
            for job in [*self.reconciler.ended, *self.jobs]:
                logs[f"job {job.id} ({job.name})"] = Log(job.log)
        return logs

    async def _wait_for_workers(self, n_workers: int = 0, timeout: float | str | None = None) -> None:
        """Wait for workers; raises BatchError if they will never come."""
        waiting = asyncio.ensure_future(super()._wait_for_workers(n_workers, timeout))
        try:
            while not waiting.done():
                await asyncio.wait([waiting], timeout=0.1)
                if self.failure is not None and not waiting.done():
                    raise self.failure
            await waiting
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.status_report()}") from None
        finally:
            waiting.cancel()

    async def fail_tasks(self, failure: BatchError) -> None:
        """End the tasks that wait for workers with an error.

        Parameters
        ----------
        failure : BatchError
            Why no more jobs are submitted.
        """
        if not self.jobs and not self.scheduler_info["workers"]:
            with contextlib.suppress(OSError):
                await self.scheduler_comm.run_function(
                    function=dumps(_fail_tasks), args=dumps((failure.what,)), wait=True
                )

    # Its end.

    async def _close(self) -> None:
        if self.status in (Status.closing, Status.closed):
            await super()._close()
            return
        await self.reconciler.stop()
        jobs = self.jobs
        with contextlib.suppress(AttributeError):
            self._adaptive.stop()
        was_running = self.status == Status.running
        if was_running:
            async with self._lock:  # a submission that is under way comes to its end first
                jobs = self.jobs
                self.worker_spec.clear()
                self.workers.clear()
                await self.dispatcher.cancel([job for job in jobs if job.arrived_at is None])
        self.reconciler.ended.extend(jobs)
        try:
            await super()._close()  # the workers close with the scheduler: their data need no new home
        finally:
            if isinstance(self.scheduler, SchedulerJob):  # its start may have been cut off
                await self.scheduler.close()
            await self.dispatcher.cancel([job for job in jobs if not job.cancelled], math.inf if was_running else 0.0)
            for job in jobs:
                job.status = Status.closed
        await self.dispatcher.confirm(jobs, _CLOSED)
        self.dispatcher.end()  # the keys go with it
        if self._remembered is not None:
            credentials.forget(self._remembered)


hooks.remember(JobQueueCluster)


class _Setting:
    """Keywords of the jobs that the cluster itself needs, too."""

    def __init__(self, kind: type[Job], section: str, owner: str) -> None:
        self._of = kind.native_name(), section
        self._owner = owner

    def get(self, name: str, given: Any) -> Any:
        return settle_one(*self._of, name, given, self._owner)


def _mappings(groups: Any) -> Mapping[str, Mapping[str, Any]]:
    found = {} if groups is None else groups
    if not isinstance(found, Mapping) or not all(isinstance(each, Mapping) for each in found.values()):
        raise ArgumentError(f"groups is {groups!r}", "a mapping is needed, such as {'large': {'memory': '100GB'}}")
    return found


def _report(task: asyncio.Task[None]) -> None:
    """Say what nobody may have awaited."""
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("%s", getattr(error, "what", error))


def _fail_tasks(text: str, dask_scheduler: Any = None) -> None:
    """End, on the scheduler, all tasks that wait for a worker."""
    from distributed.protocol.pickle import dumps as pickled

    from mpidask.errors import BatchError

    waiting = [*dask_scheduler.unrunnable, *dask_scheduler.queued]
    exception = pickled(BatchError(text))
    for task in waiting:
        recommendations = dask_scheduler.transition(
            task.key, "erred", exception=exception, cause=task.key, stimulus_id="jobs-failed"
        )
        dask_scheduler.transitions(recommendations, stimulus_id="jobs-failed")
