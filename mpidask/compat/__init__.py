"""Private names of other libraries: of Python's in `python`, of Dask's in `dask`.

Runs in every process. Elsewhere only classes that are derived from Dask's use private names, those of their base
classes. Each function says what it is for, why there is no public way, and with what it was tested. Where a private
name is gone in a newer version, the library's own behaviour stays, and one debug line says so. May import nothing of
mpidask; may be imported by every room.
"""
