"""The names of ``dask_jobqueue.htcondor``."""

from mpidask.jobqueue.clusters import HTCondorCluster, HTCondorJob, quote_arguments, quote_environment

__all__ = ["HTCondorCluster", "HTCondorJob", "quote_arguments", "quote_environment"]
