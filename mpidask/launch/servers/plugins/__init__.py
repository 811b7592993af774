"""Plugins of the scheduler: why workers end, the page Ranks, the progress file, cheap registration.

Runs in the scheduler's process. May import dashboard, and servers' log_filters.
"""
