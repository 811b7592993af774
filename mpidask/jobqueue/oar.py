"""The names of ``dask_jobqueue.oar``."""

from mpidask.jobqueue.clusters import OARCluster, OARJob

__all__ = ["OARCluster", "OARJob"]
