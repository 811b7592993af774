"""Per-worker jobs under Moab: the names of ``dask_jobqueue.moab``."""

from __future__ import annotations

from mpidask.jobqueue.cluster.documentation import documented
from mpidask.jobqueue.cluster.job_queue_cluster import JobQueueCluster
from mpidask.jobqueue.pbs import PBSJob

__all__ = ["MoabCluster", "MoabJob"]


class MoabJob(PBSJob):
    """A job under Moab."""

    config_name = "moab"
    system_name = "moab"


@documented
class MoabCluster(JobQueueCluster):
    """MoabCluster: workers are jobs under Moab."""

    job_cls = MoabJob
