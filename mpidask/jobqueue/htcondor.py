"""The names of ``dask_jobqueue.htcondor``."""

from mpidask.jobqueue.named import HTCondorCluster, HTCondorJob

__all__ = ["HTCondorCluster", "HTCondorJob"]
