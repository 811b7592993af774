"""The names of ``dask_jobqueue.htcondor``."""

from mpidask.jobqueue.clusters import HTCondorCluster, HTCondorJob

__all__ = ["HTCondorCluster", "HTCondorJob"]
