"""OAR. oarsub(1), oarstat(1): https://oar.readthedocs.io/en/2.5/.

Nodes, cores and walltime share one -l: a second one would ask for an alternative. OAR runs the script in place.
"""

from mpidask.batch.job_state import JobState
from mpidask.batch.system import BatchSystem, Query, Workers

#: An option line that sets the walltime.
_TIME_OPTION = r"(^|\s)(-l|--resource[= ])"

SYSTEM = BatchSystem(
    name="oar",
    title="OAR",
    detect="oarsub --version",
    detected=r"OAR",
    directive="#OAR",
    options=(
        "-n {name}",
        "-q {queue}",
        "--project {account}",
        ("-l /nodes={nodes}/core={cores_per_node}", ",walltime={walltime}"),
        "-O {output}",
        "-E {output}",
    ),
    signal=("--checkpoint {lead:seconds}", "--signal 10"),
    outer="OAR_(JOB|ARRAY|NODE|FILE|O_|RESOURCE|WORK|PROJECT|KEY|USER|STD)\\w*|OAR_JOBID",
    several={
        r"(^|\s)--array(-param-file)?\b": "submit the script once for each, or let its tasks be the elements",
        r"(^|\s)(-I|--interactive)(\s|$)": "leave it out: the job runs by itself",
    },
    shape={
        _TIME_OPTION: "say it with --nodes, --cores-per-rank and --walltime: a second one is an alternative",
        r"(^|\s)(-n|--name)[= ]": "say it with --job-name (-J)",
        r"(^|\s)(-O|-E|--stdout\b|--stderr\b)": "`mpidask logs` shows the output; --state-directory says where it is kept",
        r"(^|\s)(-d|--directory)[= ]": "submit in that directory, or change to it with --prologue 'cd DIRECTORY'",
        r"(^|\s)(--checkpoint|--signal)\b": "say it with --walltime-margin",
    },
    time_option=_TIME_OPTION,
    choices={"queue": r"(?:^|\s)(?:-q *|--queue[= ])(\S+)", "account": r"(?:^|\s)--project[= ](\S+)"},
    submit="oarsub -S {script}",
    job_id=r"\bOAR_JOB_ID=(\d+)",
    search=Query(command="oarstat -f -u {user}", row=r"^Job_Id: *(?P<id>\d+)(?:\n(?!Job_Id).*)*"),
    cancel="oardel {ids}",
    status=Query(
        command="oarstat -f --sql 'job_id in ({id_list})'",
        row=r"^Job_Id: *(?P<id>\d+)(?:\n(?!Job_Id).*)*",
        more={
            "state": r"^\s+state = (\w+)",
            "reason": r"\A[\s\S]*?> (WALLTIME.*)|> ((?:FRAG_JOB_REQUEST|OUTPUT_FILES).*)",  # the former comes with the latter
            "start": r"^\s+(?:startTime|scheduledStart) = (\d.*)",
            "exit": r"^\s+exit_code = \d+ \((\d+)",
            "signal": r"^\s+exit_code = \d+ \(\d+,(\d+)",
        },
    ),
    states={
        JobState.PENDING: "Waiting toAckReservation toLaunch Launching",
        JobState.HELD: "Hold Suspended Resuming",
        JobState.RUNNING: "Running Finishing",
        JobState.DONE: "Terminated",
        JobState.FAILED: "Error toError",
    },
    reasons={
        r"WALLTIME": "the walltime was reached",
        r"FRAG_JOB_REQUEST:User (\S+)": r"cancelled by \1",  # root, too, where an administrator takes a node away
        r"FRAG_JOB_REQUEST": "cancelled",
        r"OUTPUT_FILES": "its output file could not be opened",
    },
    refusals={
        r"queue .* does not exist": "there is no such queue; the site's documentation names them",
        r"There are not enough resources": "no nodes have what the job asks for",
    },
    launch_options={"openmpi": '--hostfile "$OAR_NODEFILE"', "hydra": '-f "$OAR_NODEFILE"'},
    workers=Workers(
        options=(
            "-n {job_name}",
            "-q {queue}",
            "--project {project}",
            ("-l {resource_spec}", ",walltime={walltime}"),
            "-O {logs}/{job_name}-{log_id}.out",
            "-E {logs}/{job_name}-{log_id}.err",
        ),
        resource_spec="/nodes={nodes}/core={cores}",
        log_id="%jobid%",
        walltime=("h", "hm"),
    ),
)
