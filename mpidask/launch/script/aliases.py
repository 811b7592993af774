"""``import dask_mpi`` in a script under the launcher gets mpidask.

Its own `initialize` would start MPI in a process that is no rank of the run.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
import types
from collections.abc import Sequence
from typing import Any

from mpidask.compat.callable_modules import CallableModule

__all__ = ["install"]

_MODULES = {f"dask_mpi{name}": f"mpidask{name}" for name in ("", ".core", ".execute", ".exceptions", ".initialize")}


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds our modules under those names."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: Any = None) -> Any:
        """Return where the module comes from, None for what is not ours."""
        if name not in _MODULES:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=name == "dask_mpi")

    def create_module(self, spec: Any) -> types.ModuleType:
        """Return a module with all that ours has."""
        ours = importlib.import_module(_MODULES[spec.name])
        module = _Alias(spec.name)
        module.ours = ours
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        """Do nothing: it is there."""


class _Alias(CallableModule):
    """A module by another name."""

    ours: types.ModuleType

    def __getattr__(self, name: str) -> Any:
        """Look it up where it is."""
        if name.startswith("__") and name not in ("__version__", "__all__"):
            raise AttributeError(name)
        return getattr(self.ours, name)


def install() -> None:
    """Put it in force, in this process."""
    sys.meta_path.insert(0, _Finder())
