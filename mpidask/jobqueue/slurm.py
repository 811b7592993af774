"""Per-worker jobs under Slurm: the names of ``dask_jobqueue.slurm``."""

from __future__ import annotations

import importlib
import math
from typing import Any

from mpidask.batch.template import fill
from mpidask.jobqueue.cluster.documentation import documented
from mpidask.jobqueue.cluster.job_queue_cluster import JobQueueCluster
from mpidask.jobqueue.jobs.job import Job

__all__ = ["SLURMCluster", "SLURMJob", "slurm_format_bytes_ceil"]  # and SLURMRunner, which needs MPI


class SLURMJob(Job):
    """A job under Slurm."""

    config_name = "slurm"
    system_name = "slurm"


@documented
class SLURMCluster(JobQueueCluster):
    """SLURMCluster: workers are jobs under Slurm."""

    job_cls = SLURMJob


def slurm_format_bytes_ceil(n: float) -> str:
    """Return bytes in Slurm's largest unit of which they are 1 or more, rounded up: 8G."""
    return fill(["{memory:letter}"], {"memory": math.ceil(n)})[0]


def __getattr__(name: str) -> Any:
    """Import the runner when it is asked for."""
    if name != "SLURMRunner":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module("mpidask.launch.runner").SLURMRunner
