"""The names of ``dask_jobqueue.lsf``."""

from mpidask.jobqueue.named import LSFCluster, LSFJob

__all__ = ["LSFCluster", "LSFJob"]
