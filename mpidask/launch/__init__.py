"""What runs inside an allocation, on the ranks of a run.

Runs in every rank, from the command line or the call of a script to the end. May import all rooms below and security,
dashboard, compat; never batch.

From top to bottom: `command` (the launcher), `dask_mpi` (dask_mpi's names) and `runner` (dask-jobqueue's SLURMRunner)
stand on `session` and `script_rank`, these on `exit_hook`, `process_state` and the room cluster; below are the rooms
servers, imports, comm and script, resources, watchdog.
"""
