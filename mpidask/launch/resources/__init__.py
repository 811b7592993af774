"""What a rank may use, and how it is divided among workers: cores, memory, GPUs, network, scratch, time.

Reads the machine; no MPI, no Dask servers. May import watchdog.
"""
