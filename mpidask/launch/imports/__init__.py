"""Modules from one block of memory: hundreds of ranks that import Dask do not ask the file system for each file.

Runs in every rank while a run starts. May import comm, watchdog.
"""
