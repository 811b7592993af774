"""What users name by its import path: a worker class, what makes the mapping for workers' data."""

from __future__ import annotations

import importlib
from typing import Any

from distributed import Scheduler
from distributed.core import Server

from mpidask.errors import StartupError

__all__ = ["data_maker", "worker_class"]


def data_maker(path: str) -> Any:
    """Return what makes the mapping for a worker's data; raises StartupError."""
    remedy = "give the import path of a function or class that makes a mapping, such as package.module.name"
    try:
        maker = _imported(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise StartupError(f"--data is {path!r}, which cannot be imported: {error}", remedy) from error
    if not callable(maker):
        raise StartupError(f"--data is {path!r}, which makes no mapping: {maker!r}", remedy)
    return maker


def _imported(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def worker_class(path: str) -> type[Server]:
    """Import a worker class, or a class of servers with workers such as a nanny; raises StartupError for others."""
    try:
        found = _imported(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise StartupError(
            f"there is no worker class {path!r}: {error}",
            "give its import path with --worker-class, such as distributed.Worker",
        ) from error
    if not (isinstance(found, type) and issubclass(found, Server)) or issubclass(found, Scheduler):
        raise StartupError(f"{path} is not a worker class", "--worker-class needs a subclass of distributed.Worker")
    return found
