"""The names of ``dask_jobqueue.local``."""

from mpidask.jobqueue.clusters import LocalJob, LocalJobCluster

__all__ = ["LocalCluster", "LocalJob", "LocalJobCluster"]

LocalCluster = LocalJobCluster
