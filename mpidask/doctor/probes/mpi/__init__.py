"""Probes of the MPI library, its launcher and the ranks.

Runs as `mpidask.doctor.probes` says. May import launch.comm, launch.resources, launch.watchdog.
"""
