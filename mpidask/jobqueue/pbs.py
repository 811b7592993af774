"""The names of ``dask_jobqueue.pbs``."""

import math

from mpidask.jobqueue.clusters import PBSCluster, PBSJob

__all__ = ["PBSCluster", "PBSJob", "pbs_format_bytes_ceil"]


def pbs_format_bytes_ceil(n: float) -> str:
    """Return bytes in the largest unit of which they are 10 or more, as PBS reads them, rounded up: 7630MB."""
    units = [(2**30, "GB"), (2**20, "MB"), (2**10, "kB"), (1, "B")]
    size, name = next(((size, name) for size, name in units if n >= 10 * size), units[-1])
    return f"{math.ceil(n / size)}{name}"
