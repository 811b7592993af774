"""Probes of the interpreter and its packages.

Runs as `mpidask.doctor.probes` says. May import the modules of doctor.
"""
