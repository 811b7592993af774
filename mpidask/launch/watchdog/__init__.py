"""What runs before MPI is up and beside it: each rank's watchdog, signals, processes of a node.

Runs in every rank before anything else, and in the watchdog's own process. May import the standard library's smallest
modules only.
"""
