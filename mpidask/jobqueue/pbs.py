"""The names of ``dask_jobqueue.pbs``."""

from mpidask.jobqueue.clusters import PBSCluster, PBSJob

__all__ = ["PBSCluster", "PBSJob"]
