"""What a run was like: a record that it keeps, and what is made of it.

Runs inside the run, beside the scheduler (`recorder`, `account`, `writer`) and in workers (`measures`), and outside of
it: on a login node, and in the rank that prints the closing lines. May import errors and files; only `measures` imports
Dask's servers.
"""
