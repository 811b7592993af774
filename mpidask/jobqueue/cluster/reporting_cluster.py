"""`ReportingCluster`: a cluster that says how its jobs are doing."""

from __future__ import annotations

import asyncio
import statistics
from typing import Any

from distributed.utils import Log

from mpidask.errors import BatchError
from mpidask.jobqueue.cluster import report
from mpidask.jobqueue.cluster.held_cluster import HeldCluster

__all__ = ["ReportingCluster"]


class ReportingCluster(HeldCluster):
    """A cluster with a report: on request, in its logs, in a notebook, and in what is raised to who waits in vain."""

    @property
    def failure(self) -> BatchError | None:
        """Why no more jobs are submitted; None while they are."""
        return self.reconciler.failure

    @property
    def startup_time(self) -> float:
        """Time from the submission of a job to its first worker, in s: the median; 0 before the first."""
        every = [*self.workers.values(), *self.reconciler.ended]
        times = [job.arrived_at - job.submitted for job in every if job.arrived_at is not None]
        return statistics.median(times) if times else 0.0

    def wait_for_workers(self, n_workers: int, timeout: float | str | None = None) -> Any:
        """Wait for workers.

        Parameters
        ----------
        n_workers : int
            How many.
        timeout : float or str, optional
            How long to wait at most: seconds, or text such as ``"5 min"``.

        Returns
        -------
        Awaitable or None
            With ``asynchronous=True`` an awaitable.

        Raises
        ------
        BatchError
            They will never come.
        TimeoutError
            The time is up; it says how the jobs stand.
        """
        return self.sync(self._await_workers, n_workers, timeout)

    async def _await_workers(self, n_workers: int, timeout: float | str | None) -> None:
        """Wait for workers; raises BatchError if they will never come."""
        dask_s: Any = super().wait_for_workers
        waiting = asyncio.ensure_future(dask_s(n_workers, timeout))
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

    def get_logs(self, cluster: bool = True, scheduler: bool = True, workers: Any = True) -> Any:  # noqa: FBT001, FBT002
        """Return what the scheduler, the workers and the jobs have printed.

        Parameters
        ----------
        cluster : bool, default True
            Include the log of this object.
        scheduler : bool, default True
            Include the log of the scheduler.
        workers : bool or list of str, default True
            Include the logs of all workers and jobs, of none, or of the workers with these addresses.

        Returns
        -------
        distributed.utils.Logs
            Source -> text; with ``asynchronous=True`` an awaitable of it.
        """
        return self.sync(self._collect_logs, cluster=cluster, scheduler=scheduler, workers=workers)

    async def _collect_logs(self, *, cluster: bool, scheduler: bool, workers: Any) -> Any:
        """Return Dask's logs and those of the jobs."""
        logs = await super().get_logs(cluster=cluster, scheduler=scheduler, workers=workers)
        if workers is True:
            for job in [*self.reconciler.ended, *self.jobs]:
                logs[f"job {job.id} ({job.name})"] = Log(job.log)
        return logs

    def status_report(self) -> str:
        """Return how each job stands: why it waits, how many of its workers have joined, how it failed.

        Returns
        -------
        str
            A table.
        """
        shape = report.shape(self._factory.make())
        return "\n".join([shape, *self._notes, report.as_text(self.jobs, list(self.reconciler.ended), self._said)])

    @property
    def _said(self) -> str | None:
        return None if self.failure is None else self.failure.what

    @property
    def _notes(self) -> list[str]:
        """What else is worth a line each: whether everybody can connect, where the scheduler is."""
        return [note for note in (self._warning, getattr(self.scheduler, "note", None)) if note]

    def __repr__(self) -> str:
        workers = self.scheduler_info["workers"].copy()  # the event loop's thread changes it
        threads = sum(worker["nthreads"] for worker in workers.values())
        expected = sum(job.worker_processes for job in self.jobs)
        address = getattr(self, "scheduler_address", "<Not Connected>")
        text = f"{type(self).__name__}({self.name}, {address!r}, workers={len(workers)} of {expected}"
        tls = ", TLS off" if self._warning else ""
        return f"{text}, threads={threads}{tls}, jobs: {report.summary(self.jobs)})"

    def _repr_html_(self, cluster_status: str | None = None) -> str:
        said = report.as_html(self.jobs, list(self.reconciler.ended), self._said, self._notes)
        return str(super()._repr_html_(cluster_status)) + said
