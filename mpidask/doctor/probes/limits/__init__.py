"""Probes of what a process may use of its node.

Runs as `mpidask.doctor.probes` says. May import launch.resources, launch.watchdog.
"""
