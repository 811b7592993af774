"""The names of ``dask_jobqueue.lsf``."""

from mpidask.jobqueue.clusters import LSFCluster, LSFJob, lsf_detect_units, lsf_format_bytes_ceil

__all__ = ["LSFCluster", "LSFJob", "lsf_detect_units", "lsf_format_bytes_ceil"]
