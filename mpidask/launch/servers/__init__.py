"""Dask's servers as a run has them: what they are told, how they start, how they rest.

Runs in a rank or in the agent beside it, which forks the workers. No MPI. May import imports, comm's steps, script,
resources, watchdog.
"""
