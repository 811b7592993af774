"""Per-worker jobs under Grid Engine: the names of ``dask_jobqueue.sge``."""

from __future__ import annotations

from mpidask.jobqueue.cluster.documentation import documented
from mpidask.jobqueue.cluster.job_queue_cluster import JobQueueCluster
from mpidask.jobqueue.jobs.job import Job

__all__ = ["SGECluster", "SGEJob"]


class SGEJob(Job):
    """A job under Grid Engine."""

    config_name = "sge"
    system_name = "sge"


@documented
class SGECluster(JobQueueCluster):
    """SGECluster: workers are jobs under Grid Engine (SGE)."""

    job_cls = SGEJob
