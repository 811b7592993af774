"""How much North America warms from 1860 to 2099 in a climate model, as a map of the trend.

A plain xarray and Dask script: it knows nothing of mpidask. Run it by itself or on the ranks of an MPI job::

    python jobs/climate.py trend.png
    mpirun -n 4 python -m mpidask jobs/climate.py trend.png

Data: the package iris-sample-data, yearly near-surface air temperature of a climate model of the
UK Met Office under the scenario A1B (ENSEMBLES project).
"""

import importlib.util
import pathlib
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr


def data(name):
    """Return the path of one of the package's files."""
    folder = pathlib.Path(importlib.util.find_spec("iris_sample_data").origin).parent / "sample_data"
    return str(next(folder.rglob(name)))


def trend(temperature):
    """Return the slope of a linear fit in K per century, for every place."""
    years = xr.DataArray(np.arange(temperature.sizes["time"]), dims="time").astype("float64")
    years = years - years.mean()
    anomaly = temperature - temperature.mean("time")
    return 100 * (anomaly * years).sum("time") / (years**2).sum()


def main(target):
    """Compute the trend and draw it."""
    fields = xr.open_dataset(data("A1B_north_america.nc"), chunks={}).chunk(time=-1, latitude=10, longitude=25)
    slope = trend(fields.air_temperature).compute()
    first, last = (str(fields.time.values[index])[:4] for index in (0, -1))
    weights = np.cos(np.deg2rad(slope.latitude))
    mean = float(slope.weighted(weights).mean())
    print(f"{first} to {last}: {mean:.2f} K per century on average, {float(slope.max()):.2f} at most")
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    slope.assign_coords(longitude=slope.longitude - 360).plot(
        ax=axes, cmap="inferno", cbar_kwargs={"label": "K per century"}
    )
    axes.set(title=f"Trend of air temperature, {first} to {last}, scenario A1B", xlabel="longitude", ylabel="latitude")
    figure.savefig(target, dpi=120)
    print(f"map: {target}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "trend.png")
