"""Commands of a batch system: what one is, and the only place that starts processes.

Runs wherever batch does. May import the files of `mpidask` itself and `batch.template`.
"""
