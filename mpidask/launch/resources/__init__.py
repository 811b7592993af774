"""What a rank may use, and how it is divided: cores, memory, GPUs, network, scratch, time.

Runs in every rank before its servers start, and wherever time is asked for. Reads the machine; no MPI, no Dask servers.
May import watchdog.
"""
