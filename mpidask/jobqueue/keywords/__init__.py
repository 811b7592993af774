"""The keywords of cluster and job classes: what there are, what their values may be, and where these are looked for.

Runs in the user's process, when a cluster or a job is made. May import batch.settings, config and dask.config.
"""
