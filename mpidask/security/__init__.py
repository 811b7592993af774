"""Who may connect: keys of one run or cluster, how they are kept, and the file that hands them on.

Runs wherever there is a scheduler, worker or client. May import compat.
"""
