"""Per-worker jobs on this machine, without a batch system: the names of ``dask_jobqueue.local``."""

from __future__ import annotations

from mpidask.jobqueue.cluster.documentation import documented
from mpidask.jobqueue.cluster.job_queue_cluster import JobQueueCluster
from mpidask.jobqueue.jobs.job import Job

__all__ = ["LocalCluster", "LocalJob", "LocalJobCluster"]


class LocalJob(Job):
    """A job on this machine, without a batch system."""

    config_name = "local"
    system_name = "local"
    cluster_name = "LocalJobCluster"


@documented
class LocalJobCluster(JobQueueCluster):
    """LocalJobCluster: workers are jobs on this machine: the same as with a batch system, on a laptop."""

    job_cls = LocalJob


LocalCluster = LocalJobCluster
