"""The names of ``dask_jobqueue.slurm``."""

import importlib
from typing import Any

from mpidask.jobqueue.clusters import SLURMCluster, SLURMJob

__all__ = ["SLURMCluster", "SLURMJob"]  # and SLURMRunner, which needs MPI


def __getattr__(name: str) -> Any:
    """Import the runner when it is asked for."""
    if name != "SLURMRunner":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module("mpidask.launch.runner").SLURMRunner
