"""Submitting jobs, submitting them again, cancelling them, and what one holds in hand of each.

Runs on login nodes, and in job scripts that submit themselves again. May import all of `mpidask.batch` but the
sentinel.
"""
