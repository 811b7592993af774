"""The names of ``dask_jobqueue.sge``."""

from mpidask.jobqueue.clusters import SGECluster, SGEJob

__all__ = ["SGECluster", "SGEJob"]
