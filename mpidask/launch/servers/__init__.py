"""Dask's servers as a run has them: what they are told, how they start, what they do less often than Dask's own.

Runs in a rank or in the agent beside it, which forks the workers. No MPI. May import imports, comm's steps, script,
resources, watchdog.
"""
