"""The batch systems that are known: one file of facts each.

Runs nothing: `batch.registry` reads the constants. May import `batch.system` and each other.
"""
