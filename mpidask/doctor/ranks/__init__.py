"""The doctor on the ranks of an MPI job: what they measure, exchange, and find together.

Runs on every rank inside mpirun, and in a process beside each. May import the other modules of doctor, launch, config.
"""
