"""Moab over Torque: msub, showq, checkjob, mjobctl.

http://docs.adaptivecomputing.com/9-1-1/MWM/Content/topics/moabWorkloadManager/topics/commands/commandsoverview.html.

Moab asks a server that may take half a minute: what has ended is asked for only when a job is missed.
"""

import dataclasses

from mpidask.batch.job_state import JobState
from mpidask.batch.system import BatchSystem, Query
from mpidask.batch.systems import pbs, torque

#: One <job .../>, its attributes in any order.
_ROW = r'<job\b(?=[^>]*\bJobID="(?P<id>[^"]+)")(?=[^>]*\bState="(?P<state>\w+)")[^>]*>'

SYSTEM = BatchSystem(
    name="moab",
    title="Moab",
    detect="msub --version",
    detected=r"(?i)moab",
    directive="#PBS",  # msub reads it as it does #MSUB; dask-jobqueue writes it
    options=torque.SYSTEM.options,
    outer=f"{torque.SYSTEM.outer}|MOAB_\\w+",
    several={**pbs.SEVERAL, r"(^|\s)-t *\S*\[": pbs.ONCE_EACH},
    shape=pbs.SHAPE,
    time_option=pbs.TIME_OPTION,
    choices=pbs.CHOICES,
    name_limit=15,
    submit="msub {script}",
    # After an empty line: Moab's own id, or that of Torque with its server.
    job_id=r"^((?:\w+\.)?\d+|\d+\.[A-Za-z][\w.-]*\w)\s*$",
    # Neither showq nor checkjob tells a job's script or files, and jobs may share a name: nobody but the user can tell.
    listing="showq -n -w user={user}",  # -n: by their names
    cancel="mjobctl -c {id_list}",
    status=Query(
        command="showq --xml -w user={user}",
        row=_ROW,
        besides=r"^[\s\S]*</Data>\s*\Z",
        more={"start": r'\bStartTime="([1-9]\d*)"'},  # not RsvStartTime
    ),
    explain=Query(
        command="checkjob {id}",
        row=r"^job (?P<id>\S+)[\s\S]*",
        more={"reason": r"^\s*BLOCK MSG: +(.+)|^\s*NOTE: +(?:job cannot run +)?(.+)|^Holds: +(.+)"},
    ),
    history=Query(
        command="showq -c --xml -w user={user}",
        row=_ROW,
        more={"exit": r'\bCompletionCode="(-?\d+)"', "reason": r'\bCompletionCode="([A-Z]+)"'},
    ),
    spellings=(r"^(\d+)(?:\.|$)",),  # showq lists it without the server
    # http://docs.adaptivecomputing.com/9-1-1/MWM/Content/topics/moabWorkloadManager/topics/jobAdministration/jobstates.html
    states={
        JobState.PENDING: "Idle Migrated Staging NotQueued",
        JobState.HELD: "Hold UserHold SystemHold BatchHold Deferred Suspended",
        JobState.RUNNING: "Running Starting Canceling",
        JobState.DONE: "Completed",
        JobState.FAILED: "Removed Vacated",  # why a job was removed is in its completion code
    },
    printed=torque.SYSTEM.printed,
    reasons={
        r"^CNCLD$": "cancelled",
        r"job has hold in place|^User$": "held; release it with `mjobctl -u`",
        r"insufficient (idle|available) procs|idle procs do not meet requirements": "waits until enough nodes are free",
        r"start date not reached": "waits until its begin time",
        r"dependency .* not met": "waits for another job",
        r"(?i)(violates|exceeds) .*(policy|limit)|limit .*reached": "a limit on your jobs is reached",
        r"(?i)no (class|resources|nodes?) .*available|cannot (ever )?run": "asks for more than the site has",
        **torque.SYSTEM.reasons,
    },
    refusals={
        r"(?i)max(imum)?[ _-]?(idle)?[ _-]?jobs?\b": "you have as many jobs in the queue as the site allows; submit again when "
        "one has ended",
        r"(?i)requested queue not found|(invalid|unknown) (class|queue)": "there is no such queue; `mdiag -c` lists them",
        r"(?i)(invalid|no|unknown) account|account .*(invalid|not )|cannot debit": "you may not use that account, or it is "
        "used up; `mdiag -a` lists yours",
        r"client timed out": "Moab did not answer in time; see with `showq` that the job is not in the queue, and try again",
        **torque.SYSTEM.refusals,
    },
    launch_options=torque.SYSTEM.launch_options,
    prologue=torque.SYSTEM.prologue,
    unsupported=torque.SYSTEM.unsupported,
    workers=dataclasses.replace(pbs.WORKERS, index=None),
)
