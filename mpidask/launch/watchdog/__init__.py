"""What runs before MPI is up and beside it: the watcher of each rank, signals, processes as the kernel shows them.

The standard library's smallest modules only: every rank imports it first.
"""
