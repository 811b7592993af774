"""Attaching to a job from elsewhere: a notebook, a shell, a program on a login node.

Runs in the user's process, without MPI. May import batch, dashboard, security.
"""
