"""The names of ``dask_jobqueue.core``."""

from mpidask.jobqueue.cluster import JobQueueCluster
from mpidask.jobqueue.job import Job

__all__ = ["Job", "JobQueueCluster"]
