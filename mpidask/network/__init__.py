"""How processes of several nodes reach each other: the ports that they listen on.

Runs wherever a server is started: in ranks, in jobs of workers, in programs with a cluster object. May import nothing
but the standard library and `mpidask.errors`.
"""
