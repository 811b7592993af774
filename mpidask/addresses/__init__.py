"""The addresses of a machine, and which of a server's a node reaches: tried by connecting.

Runs wherever a server is started or joined: in ranks, in jobs of workers, in programs with a cluster object. May import
nothing but the standard library, psutil and `mpidask.errors`.
"""
