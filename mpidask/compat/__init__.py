"""Private names of other libraries, and what replaces parts of them.

Python's are in `python`, all others are Dask's. Runs in every process. Each function says what it is for, why there is
no public way, with what it was tested, and where upstream knows of it. Where a name is gone in a newer version, the
library's own behaviour stays, and one debug line says so. What is done for speed alone is switched off by `setting`.
May import nothing of mpidask; may be imported by every room.
"""
