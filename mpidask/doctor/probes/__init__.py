"""The probes, one file each: `measure` reads facts from the machine, `judge` makes findings of them.

Runs in a process of its own to measure, and in that of the doctor to judge. May import the rooms below doctor, and
batch: what is large inside `measure`.
"""
