"""Probes of file systems, space and what earlier runs have left.

Runs as `mpidask.doctor.probes` says. May import launch.resources, config.
"""
