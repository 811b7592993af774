"""The names of ``dask_mpi.core``."""

from mpidask.launch.dask_mpi import initialize, send_close_signal

__all__ = ["initialize", "send_close_signal"]
