"""Plugins of the scheduler: why workers end, with the nanny that tells it, the page Ranks, the progress file.

Runs in the scheduler's process, the nanny in that of the workers' host. May import compat, dashboard, resources, and
servers' log_filters and idle.
"""
