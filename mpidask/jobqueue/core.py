"""The names of ``dask_jobqueue.core``."""

from mpidask.jobqueue.cluster.job_queue_cluster import JobQueueCluster
from mpidask.jobqueue.jobs.job import Job
from mpidask.jobqueue.keywords.documentation import document

__all__ = ["Job", "JobQueueCluster", "cluster_parameters", "job_parameters"]

#: For the docstrings of derived classes.
job_parameters = document("")
cluster_parameters = JobQueueCluster.__doc__ or ""
