"""Per-worker jobs: Dask clusters whose workers are batch jobs, compatible with dask_jobqueue.

Runs in the user's process; `scheduler_main` and `worker` run in jobs. May import batch, dashboard, security.

::

    from mpidask import SLURMCluster

    with SLURMCluster(cores=24, memory="100GB", processes=6) as cluster, Client(cluster) as client:
        cluster.scale(jobs=10)
"""

from mpidask.jobqueue.cluster.job_queue_cluster import JobQueueCluster
from mpidask.jobqueue.clusters import (
    FluxCluster,
    FluxJob,
    HTCondorCluster,
    HTCondorJob,
    LocalJob,
    LocalJobCluster,
    LSFCluster,
    LSFJob,
    MoabCluster,
    MoabJob,
    OARCluster,
    OARJob,
    PBSCluster,
    PBSJob,
    SGECluster,
    SGEJob,
    SLURMCluster,
    SLURMJob,
)
from mpidask.jobqueue.jobs.job import Job
from mpidask.jobqueue.keywords import configuration

configuration.install()

__all__ = [
    "FluxCluster",
    "FluxJob",
    "HTCondorCluster",
    "HTCondorJob",
    "Job",
    "JobQueueCluster",
    "LSFCluster",
    "LSFJob",
    "LocalJob",
    "LocalJobCluster",
    "MoabCluster",
    "MoabJob",
    "OARCluster",
    "OARJob",
    "PBSCluster",
    "PBSJob",
    "SGECluster",
    "SGEJob",
    "SLURMCluster",
    "SLURMJob",
]
