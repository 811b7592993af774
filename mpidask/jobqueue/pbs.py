"""The names of ``dask_jobqueue.pbs``."""

from mpidask.jobqueue.named import PBSCluster, PBSJob

__all__ = ["PBSCluster", "PBSJob"]
