"""The keywords of clusters and jobs: which there are, their values, and where these are looked for.

Runs in the user's process, when a cluster or a job is made. May import batch.settings, config and dask.config.
"""
