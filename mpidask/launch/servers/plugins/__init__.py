"""Plugins of the scheduler: why workers end, the page Ranks, the progress file, cheaper registration."""
