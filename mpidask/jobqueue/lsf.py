"""The names of ``dask_jobqueue.lsf``."""

from mpidask.jobqueue.clusters import LSFCluster, LSFJob

__all__ = ["LSFCluster", "LSFJob"]
