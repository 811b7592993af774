"""Inside an allocation: MPI is used to meet, Dask does the rest."""
