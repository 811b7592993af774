"""Attaching to a job from elsewhere: a notebook, a shell, a program on a login node."""
