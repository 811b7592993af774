"""The names of ``dask_mpi.exceptions``."""

from mpidask.errors import WorldTooSmallException

__all__ = ["WorldTooSmallException"]
