"""The script's own process, and what finds the cluster around it.

`child`, `main_module`, `run_cluster` and what they stand on run in that process, before and beside the script; no MPI.
`threads`, `interpreter_end` and `walltime_alarm` serve scripts in a rank, too. May import resources, watchdog.
"""
