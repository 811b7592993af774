"""Probes of the batch system.

Runs as `mpidask.doctor.probes` says. May import batch.
"""
