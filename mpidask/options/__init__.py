"""How the options of a run are read, from the command line or a call, and from the configuration.

Runs where a user's words are: on a login node, in a program that makes a cluster, on rank 0. May import config,
configuration and profiles.
"""
