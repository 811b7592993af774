"""Per-worker jobs under Flux."""

from __future__ import annotations

from mpidask.jobqueue.cluster.documentation import documented
from mpidask.jobqueue.cluster.job_queue_cluster import JobQueueCluster
from mpidask.jobqueue.jobs.job import Job

__all__ = ["FluxCluster", "FluxJob"]


class FluxJob(Job):
    """A job under Flux."""

    config_name = "flux"
    system_name = "flux"


@documented
class FluxCluster(JobQueueCluster):
    """FluxCluster: workers are jobs under Flux."""

    job_cls = FluxJob
