"""Torque: PBS with other words for nodes.

http://docs.adaptivecomputing.com/torque/6-1-2/adminGuide/torque.htm.
"""

import dataclasses

from mpidask.batch.job_state import JobState
from mpidask.batch.systems import pbs

SYSTEM = dataclasses.replace(
    pbs.SYSTEM,
    name="torque",
    title="Torque",
    detected=r"^Version: |TORQUE|^Commit:",
    options=(
        "-S /bin/bash",
        "-N {name}",
        "-q {queue}",
        "-A {account}",
        ("-l nodes={nodes}:ppn={cores_per_node}", ":gpus={gpus_per_node}", "{chunk}"),
        "-l mem={memory:MiB}mb",
        "-l walltime={walltime}",
        "-j oe",
        "-o {output}",
    ),
    refusals={**pbs.SYSTEM.refusals, r"invalid partition": "there is no such queue; `qstat -Q` lists them"},
    status=dataclasses.replace(
        pbs.STATUS,
        more={
            **pbs.STATUS.more,
            "state": r"^\s+job_state = (\w)",
            "start": r"^\s+start_time = (.*\d)",
            # A negative exit status tells why; else there may be a comment.
            "reason": r"\A[\s\S]*?^\s+(exit_status = -1[0-2]\b)|^\s+comment = (.*)",
        },
    ),
    history=None,  # jobs that have ended are listed for a while
    accounting=dataclasses.replace(pbs.ACCOUNTING, command="qstat -f {ids}"),
    states={
        JobState.PENDING: "Q T W",
        JobState.HELD: "H S",
        JobState.RUNNING: "R E",
        JobState.DONE: "C",
    },
    # http://docs.adaptivecomputing.com/torque/6-1-2/adminGuide/torque.htm: "Job Exit Status"
    printed=pbs.SYSTEM.printed,
    reasons={
        r"^exit_status = -11": "the walltime was reached",
        r"^exit_status = -10": "out of memory",
        r"^exit_status = -12": "it used more CPU time than it may",
        **pbs.SYSTEM.reasons,
    },
    # The elements of its arrays are listed by another command: jobs are submitted one by one.
    workers=dataclasses.replace(
        pbs.WORKERS, resource_spec="nodes={nodes}:ppn={cores},mem={job_memory:largest}B", index=None
    ),
)
