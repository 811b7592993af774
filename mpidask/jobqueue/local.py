"""The names of ``dask_jobqueue.local``."""

from mpidask.jobqueue.named import LocalJob, LocalJobCluster

__all__ = ["LocalCluster", "LocalJob", "LocalJobCluster"]

LocalCluster = LocalJobCluster
