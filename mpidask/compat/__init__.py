"""Private names of other libraries: Python's in `python`, Dask's in `dask` and `stepped_cluster`.

Runs in every process. Each function says what it is for, why there is no public way, and with what it was tested. Where
a private name is gone in a newer version, the library's own behaviour stays, and one debug line says so. May import
nothing of mpidask; may be imported by every room.
"""
