"""`mpidask doctor`: looks for what keeps runs from starting or slows them down, each with a remedy.

Runs on a login node, in a batch job, and on the ranks of an MPI job. May import all rooms but cli, jobqueue and attach.

A probe is one file in `probes`. Its `measure` reads facts from the machine, in a process of its own that is ended with
all its children when its time is up (`bounded`, `measuring`). Its `judge` is pure and makes findings of facts.
`examination` measures and judges; the room `ranks` does so inside mpirun; `job` has a batch job do it, which
`submission` submits, a process of its own; `report` words it.
"""
