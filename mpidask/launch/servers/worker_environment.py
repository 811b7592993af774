"""What the processes of workers inherit: modules, imported once in their agent, and variables."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mpidask.compat import dask as compat
from mpidask.compat.python import process_settings
from mpidask.errors import StartupError
from mpidask.launch.imports import preload
from mpidask.launch.resources import cuda

__all__ = ["extend_path", "load", "load_modules", "name_files", "variables"]

_BLAS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "RAYON_NUM_THREADS",
    "POLARS_MAX_THREADS",
)
_QUIET_TRACKER = "ignore:resource_tracker:UserWarning"

#: Names the user's modules for processes that import them, comma-separated.
_MODULES = "MPIDASK_PRELOAD_IMPORT"


def load() -> None:
    """Import Dask and the user's modules; raises StartupError, at last, for those that cannot be imported."""
    for name in preload.NAMES:
        with contextlib.suppress(ModuleNotFoundError):  # Dask does without some
            importlib.import_module(name)
    importlib.import_module("distributed.versions").get_versions()  # workers tell theirs: looked up once
    compat.read_configuration_once()  # each worker would read all its files anew
    load_modules(list(filter(None, os.environ.get(_MODULES, "").split(","))), forks=True)


def load_modules(names: Sequence[str], *, forks: bool = False) -> None:
    """Import the user's modules; raises StartupError for those that cannot be imported.

    forks: workers will be forked from this process: also for those that initialise CUDA
    """
    wrong = []
    for name in names:
        before = cuda.is_initialised()
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001 - whatever a module of the user's raises
            wrong.append(f"{name}: {type(error).__name__}: {error}")
        if forks and not before and cuda.is_initialised():
            raise StartupError(
                f"--preload-import {name} initialises CUDA where it is imported, in the process that workers are "
                "forked from: no task could use a GPU",
                f"leave {name} out of --preload-import, or keep it from initialising CUDA (RAPIDS_NO_INITIALIZE=1 for "
                "cuDF and its kin)",
            )
    if wrong:
        raise StartupError(
            "what --preload-import names cannot be imported:\n" + "\n".join(wrong),
            f"check the names, or install what is missing: {sys.executable} -m pip install ...",
        )


def extend_path(path: Iterable[str]) -> None:
    """Have this process, and those that it starts, find what the script finds; after its own imports."""
    new = [entry for entry in path if entry not in sys.path]
    sys.path[:0] = new


def name_files(directory: str, prefix: str) -> None:
    """Have multiprocessing in this process, and in those that it starts, keep its files where they will be removed.

    directory: for sockets; "" for none
    prefix:    of the names of semaphores
    """
    settings = process_settings()
    if directory:
        settings["tempdir"] = directory
    settings["semprefix"] = prefix  # so that whoever clears up after this rank knows the semaphores of its processes


def variables(
    blas_threads: int, modules: Sequence[str], configured: Mapping[str, Any], environ: Mapping[str, str]
) -> dict[str, str]:
    """Return the environment variables that are to be set where workers are started (pure).

    blas_threads: for numerical libraries that have threads of their own
    modules:      the user's, for `load`
    configured:   name -> value: distributed.nanny.pre-spawn-environ of Dask's configuration
    environ:      what the user has set, and stays
    """
    wanted = dict.fromkeys(_BLAS, str(blas_threads))
    wanted |= {name: str(value) for name, value in configured.items() if value is not None and name not in wanted}
    # Of a worker that was killed Python's resource tracker removes the semaphores, and says so at length.
    warnings = ",".join(filter(None, (environ.get("PYTHONWARNINGS"), _QUIET_TRACKER)))
    new = {name: value for name, value in wanted.items() if name not in environ}
    return new | {"PYTHONWARNINGS": warnings, _MODULES: ",".join(modules)}
