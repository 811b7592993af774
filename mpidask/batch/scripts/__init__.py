"""What is submitted: from a job to its job script, and to the command that submits it.

Runs ahead of each submission, outside an allocation. It is pure: nothing is read, written or asked. May import what is
known of batch systems (`system`, `template`) and of jobs (`job`).
"""
