"""The commands that look at a machine: `mpidask doctor`.

Runs in a shell on a login node, in a batch job, and in every rank of an MPI job. May import doctor.
"""
