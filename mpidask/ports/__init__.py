"""The ports on which processes listen, so that those of other nodes reach them.

Runs wherever a server is started: in ranks, in jobs of workers, in programs with a cluster object. May import nothing
but the standard library and `mpidask.errors`.
"""
