"""The only room with MPI: the ranks' protocol, how a rank waits without using a core, what is said if MPI fails.

Runs in ranks. May import resources, watchdog.
"""
