"""What is on record of each job: its run directory, under the user's state directory.

Runs wherever a job is submitted or looked at, outside an allocation. May import the room `scripts`, and the modules of
`mpidask.batch` that ask no batch system.

::

    ~/.local/state/mpidask/jobs/20261121-071502-flights-k3f9/
        job.sh          the script
        record.json     what was asked for, and the command that submitted it
        submissions     one line for each time it was submitted: job id, time, destination
        standing.json   what the batch system said last
        cancelled, refused   empty files: the user has cancelled the job; its submission was refused
        submitting.1.0  who has taken on to submit it, after 1 submission; see `claims`
        job.log, status, rank-2.log, ...   what the job leaves: see `mpidask.run_directory`

Everything is readable by the user alone.
"""
