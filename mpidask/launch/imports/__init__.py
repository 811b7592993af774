"""Modules from one block of memory, so that ranks do not ask the file system for each file.

Runs in every rank while a run starts. May import comm, watchdog.
"""
