"""Per-worker jobs under PBS, or Torque: the names of ``dask_jobqueue.pbs``."""

from __future__ import annotations

import math

from mpidask.jobqueue.cluster.documentation import documented
from mpidask.jobqueue.cluster.job_queue_cluster import JobQueueCluster
from mpidask.jobqueue.jobs.job import Job

__all__ = ["PBSCluster", "PBSJob", "pbs_format_bytes_ceil"]


class PBSJob(Job):
    """A job under PBS, or Torque."""

    config_name = "pbs"
    system_name = "pbs"


@documented
class PBSCluster(JobQueueCluster):
    """PBSCluster: workers are jobs under PBS (OpenPBS, PBS Pro) or Torque."""

    job_cls = PBSJob


def pbs_format_bytes_ceil(n: float) -> str:
    """Return bytes in the largest unit of which they are 10 or more, as PBS reads them, rounded up: 7630MB."""
    units = [(2**30, "GB"), (2**20, "MB"), (2**10, "kB"), (1, "B")]
    size, name = next(((size, name) for size, name in units if n >= 10 * size), units[-1])
    return f"{math.ceil(n / size)}{name}"
