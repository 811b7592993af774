"""Probes of interfaces, ports, TLS and proxies.

Runs as `mpidask.doctor.probes` says. May import launch.resources, security, dashboard, config.
"""
