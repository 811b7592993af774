"""The script's own process, and what finds the cluster around it.

Runs in that process, before and beside the script; no MPI. `threads`, `interpreter_end` and `walltime_alarm` serve
scripts in a rank, too. May import resources, watchdog.
"""
