"""The names of ``dask_jobqueue.moab``."""

from mpidask.jobqueue.named import MoabCluster, MoabJob

__all__ = ["MoabCluster", "MoabJob"]
