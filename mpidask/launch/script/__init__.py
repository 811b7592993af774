"""The script's process: a plain Python process, child of the client's rank, which supervises it without Dask."""
