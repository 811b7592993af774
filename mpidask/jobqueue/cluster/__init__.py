"""A cluster of per-worker jobs: what is wanted, what is there, what is said of it, the scheduler.

Runs in the user's process; `scheduler_main` runs in a job. May import the rooms `jobs` and `keywords`, batch,
dashboard, security and compat.
"""
