"""The names of ``dask_jobqueue.sge``."""

from mpidask.jobqueue.named import SGECluster, SGEJob

__all__ = ["SGECluster", "SGEJob"]
