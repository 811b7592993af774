"""One per-worker job: its option lines and script, how it is submitted and cancelled, and what it leaves.

Runs in the user's process. May import the room `keywords`, batch and security; knows no cluster.
"""
