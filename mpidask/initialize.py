"""``mpidask.initialize``, as a module for those who import from it; called, it is the function."""

from __future__ import annotations

from mpidask.compat.callable_modules import make_callable
from mpidask.launch.dask_mpi import initialize

__all__ = ["initialize"]

make_callable(__name__)
