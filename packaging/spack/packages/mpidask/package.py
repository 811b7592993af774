"""Spack package of the clone in which this lies: spack repo add packaging/spack; spack install mpidask."""

from contextlib import suppress
from pathlib import Path

from spack.package import *

with suppress(ImportError):  # from Spack 1.0 on
    from spack_repo.builtin.build_systems.python import PythonPackage


class Mpidask(PythonPackage):
    """Run an unmodified Dask script on a supercomputer with one mpirun."""

    git = Path(__file__).resolve().parents[4].as_uri()

    license("BSD-3-Clause")

    version("main", branch="main")

    variant("dashboard", default=False, description="Dask's dashboard")
    variant("notebook", default=False, description="notebooks as programs")

    depends_on("python@3.11:", type=("build", "run"))
    depends_on("py-hatchling", type="build")

    depends_on("py-click", type=("build", "run"))
    depends_on("py-cryptography", type=("build", "run"))
    depends_on("py-dask", type=("build", "run"))
    depends_on("py-distributed@2025.1:", type=("build", "run"))
    depends_on("py-mpi4py@4.1:", type=("build", "run"))
    depends_on("py-psutil", type=("build", "run"))
    depends_on("py-pyyaml", type=("build", "run"))
    depends_on("py-rich", type=("build", "run"))

    depends_on("py-bokeh", type="run", when="+dashboard")
    depends_on("py-nbclient", type="run", when="+notebook")
    depends_on("py-ipykernel", type="run", when="+notebook")

    import_modules = ["mpidask", "mpidask.batch", "mpidask.jobqueue"]
