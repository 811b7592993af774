"""The only room with MPI: the ranks' protocol, how a rank waits, what is printed if MPI fails.

Runs in ranks. May import resources, watchdog.
"""
