"""The names of ``dask_jobqueue.moab``."""

from mpidask.jobqueue.clusters import MoabCluster, MoabJob

__all__ = ["MoabCluster", "MoabJob"]
