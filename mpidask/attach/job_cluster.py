"""`JobCluster`: what there is to say of a cluster that is one batch job, and that it cannot scale."""

from __future__ import annotations

import contextlib
import html
from typing import Any

from distributed.core import Status
from distributed.utils import Log, Logs

from mpidask.batch.job import Resources
from mpidask.batch.submission.handles import Handle
from mpidask.compat.fixed_size_cluster import FixedSizeCluster
from mpidask.dashboard.notebook import DashboardWay
from mpidask.errors import UsageError
from mpidask.security.scheduler_file import Entry

__all__ = ["JobCluster"]

_FIXED = "the size of one large job is fixed"


class JobCluster(FixedSizeCluster):
    """A cluster that is one batch job: what it is called, what it has printed, where its dashboard is.

    Attributes
    ----------
    job : Handle or None
        The job; None before it is submitted.
    entry : Entry or None
        What the scheduler's file says; None before the scheduler is up.
    """

    job: Handle | None
    entry: Entry | None
    _resources: Resources
    status: Any
    security: Any

    _way: DashboardWay | None = None

    @property
    def dashboard_link(self) -> str:
        """The dashboard's link: in JupyterLab below its address, else on the scheduler's node; "" without one."""
        entry = self.entry
        if entry is None or entry.dashboard is None or self.status == Status.closed:
            return ""
        if self._way is None:
            self._way = DashboardWay(entry.address, self.security, self.loop)
        return self._way.link(entry.dashboard, entry.host)

    def leave_dashboard(self) -> None:
        """Close the port that leads to the dashboard, if there is one."""
        if self._way is not None:
            self._way.close()

    def _facts(self) -> dict[str, str]:
        """Return what there is to say of the job."""
        shape = {"nodes": str(self._resources.nodes), "ranks": str(self._resources.ranks)}
        if self.job is None:
            return {"job": "not submitted", **shape}
        standing = self.job.record.standing
        reason = f" ({standing.reason})" if standing.reason else ""
        return {"job": self.job.title, "state": f"{standing.state.value}{reason}", **shape}

    def __repr__(self) -> str:
        workers = self.scheduler_info["workers"].copy().values()  # the event loop's thread changes it
        threads = sum(worker["nthreads"] for worker in workers)
        facts = ", ".join(f"{name} {value}" for name, value in self._facts().items())
        return f"{type(self).__name__}({self.name}, {facts}, workers={len(workers)}, threads={threads})"

    def _repr_html_(self, cluster_status: str | None = None) -> str:
        facts = self._facts().items()
        cells = "".join(f"<td><strong>{name}:</strong> {html.escape(value)}</td>" for name, value in facts)
        way = ""
        if self.job is not None and self.dashboard_link.startswith("http://127.0.0.1:"):
            way = f"<p>The way to the dashboard: <code>mpidask dashboard {html.escape(self.job.id)}</code></p>"
        return f"{super()._repr_html_(cluster_status)}<table><tr>{cells}</tr></table>{way}"

    def get_logs(self, cluster: bool = True, scheduler: bool = True, workers: Any = True) -> Any:  # noqa: FBT001, FBT002
        """Return what the scheduler, the workers and the job have printed.

        Parameters
        ----------
        cluster : bool, default True
            Include the log of this object.
        scheduler : bool, default True
            Include the log of the scheduler.
        workers : bool or list of str, default True
            Include the logs of all workers, of none, or of those with these addresses.

        Returns
        -------
        distributed.utils.Logs
            Source -> text. Once the job has ended, the job's output alone.
        """
        if self.status == Status.closed:
            return self._job_log()
        return self.sync(self._logs, cluster=cluster, scheduler=scheduler, workers=workers)

    async def _logs(self, **which: Any) -> Any:
        logs = Logs()
        with contextlib.suppress(OSError):
            logs = await super().get_logs(**which)
        logs.update(self._job_log())
        return logs

    def _job_log(self) -> Any:
        logs = Logs()
        if self.job is not None:
            with contextlib.suppress(UsageError):  # it has printed nothing
                logs[f"Job {self.job.id}"] = Log(self.job.logs())
        return logs

    def scale(self, *args: Any, **kwargs: Any) -> None:
        """Refuse: the size of one large job is fixed.

        Parameters
        ----------
        *args, **kwargs : Any
            Ignored.

        Raises
        ------
        UsageError
            Always.
        """
        raise UsageError(_FIXED, "start another with nodes=...; clusters of per-worker jobs scale: SLURMCluster, ...")

    def adapt(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse: the size of one large job is fixed.

        Parameters
        ----------
        *args, **kwargs : Any
            Ignored.

        Returns
        -------
        Any
            Nothing: it always raises.

        Raises
        ------
        UsageError
            Always.
        """
        self.scale()
