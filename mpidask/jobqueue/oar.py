"""The names of ``dask_jobqueue.oar``."""

from mpidask.jobqueue.named import OARCluster, OARJob

__all__ = ["OARCluster", "OARJob"]
