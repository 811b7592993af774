"""Plugins of the scheduler: why workers end (their nanny tells it), the page Ranks, progress files.

Runs in the scheduler's process, the nanny in that of the workers' host. May import compat, dashboard, resources, and
servers' log_filters and idle.
"""
