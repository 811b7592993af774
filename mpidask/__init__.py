"""mpidask: run an unmodified Dask script on a supercomputer with one mpirun.

Nothing heavy is imported here: ``python -m mpidask`` must reach MPI_Init first.
"""

__all__ = ["__version__"]

__version__ = "0.1.0.dev0"
