"""mpidask: run an unmodified Dask script on a supercomputer with one mpirun.

Nothing heavy is imported here: ``python -m mpidask`` must reach MPI_Init first. What editors and type checkers see is
in ``__init__.pyi``, which ``python tests/stubs.py`` writes.
"""

from __future__ import annotations

from typing import Any

from mpidask.version import __version__

__all__ = [
    "ArgumentError",
    "BatchError",
    "FluxCluster",
    "HTCondorCluster",
    "JobQueueCluster",
    "LSFCluster",
    "LocalJobCluster",
    "LostError",
    "MPICluster",
    "MoabCluster",
    "MpidaskError",
    "OARCluster",
    "PBSCluster",
    "SGECluster",
    "SLURMCluster",
    "SLURMRunner",
    "Session",
    "StartupError",
    "UsageError",
    "WalltimeError",
    "WorldTooSmallException",
    "__version__",
    "connect",
    "execute",
    "initialize",
    "on_walltime",
    "send_close_signal",
    "time_left",
]

_HOMES = {
    "FluxCluster": "mpidask.jobqueue",
    "HTCondorCluster": "mpidask.jobqueue",
    "JobQueueCluster": "mpidask.jobqueue",
    "LSFCluster": "mpidask.jobqueue",
    "LocalJobCluster": "mpidask.jobqueue",
    "MPICluster": "mpidask.attach.cluster",
    "MoabCluster": "mpidask.jobqueue",
    "OARCluster": "mpidask.jobqueue",
    "PBSCluster": "mpidask.jobqueue",
    "SGECluster": "mpidask.jobqueue",
    "SLURMCluster": "mpidask.jobqueue",
    "SLURMRunner": "mpidask.launch.runner",
    "Session": "mpidask.launch.session",
    "connect": "mpidask.attach.client",
    "execute": "mpidask.launch.dask_mpi",
    "initialize": "mpidask.launch.dask_mpi",
    "on_walltime": "mpidask.launch.resources.walltime",
    "send_close_signal": "mpidask.launch.dask_mpi",
    "time_left": "mpidask.launch.resources.walltime",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    import importlib

    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES.get(name, "mpidask.errors")), name)


def __dir__() -> list[str]:
    """Return the public names: what tab completion shows."""
    return sorted(__all__)
