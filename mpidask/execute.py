"""``mpidask.execute``, as a module for those who import from it; called, it is the function."""

from __future__ import annotations

from mpidask.compat.callable_modules import make_callable
from mpidask.launch.dask_mpi import execute, send_close_signal

__all__ = ["execute", "send_close_signal"]

make_callable(__name__)
