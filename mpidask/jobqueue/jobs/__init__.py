"""One per-worker job: its option lines and script, its submission and its end, and what it leaves.

Runs in the user's process. May import the room `keywords`, batch and security; knows no cluster.
"""
