"""OpenPBS and PBS Professional: qsub, qstat, qdel.

PBS Professional User's Guide and Reference Guide (8.1 "Job States"), https://help.altair.com/.
"""

import dataclasses

from mpidask.batch.job_state import NODE_FAILED, JobState
from mpidask.batch.system import Accounting, BatchSystem, Query, Workers

#: What is printed of each job.
STATUS = Query(
    command="qstat -f {ids}",
    row=r"^Job Id:\s*(?P<id>\S+)(?:\n(?!Job Id:).*)*",
    more={
        # Substate 91: somebody has deleted the job; one that never ran has no exit status then.
        # https://github.com/openpbs/openpbs/blob/master/src/include/job.h
        "state": r"^\s+job_state = [FX]\b(?=(?:\n.*)*?\n\s+substate = (91)$)|^\s+job_state = (\w)",
        "reason": r"^\s+comment = .*\bterminated (by \S+)|^\s+comment = (?:Not Running: )?(.*)",
        "start": r"^\s+(?:stime|estimated\.start_time) = (.*\d)",
        "starts": r"^\s+run_count = (\d+)",
        "exit": r"^\s+[Ee]xit_status = (-?\d+)",
    },
    folded=r"\n\t(?![\w.]+ = )",  # Slurm's qstat indents every line so
    absent=r"Unknown Job|has finished",
)

#: What to do instead of a job array.
ONCE_EACH = "submit the script once for each, or let its tasks be the elements"

#: Of PBS and Torque.
SEVERAL = {
    r"(^|\s)-[Jt] *\d": ONCE_EACH,
    r"(^|\s)-W *([\w=,.]+,)?block=": "leave it out; `mpidask submit --wait` waits",
    r"(^|\s)-[IXz](\s|$)": "leave it out: the job runs by itself",
    r"(^|\s)-C(\s|$)": "leave it out: options have the mark #PBS",
}
#: An option line that sets the walltime.
TIME_OPTION = r"(^|\s)-l *(\S*\b)?walltime="

SHAPE = {
    r"(^|\s)-l *(\S*\b)?(select|nodes|procs)=": "say it with --nodes, --ranks-per-node, --cores-per-rank, --memory-per-node and "
    "--gpus-per-rank; add what else each node has to be with --directive=:NAME=VALUE, such as --directive=:cpu_type=rome",
    r"^:(\S*:)?(ncpus|mpiprocs|mem|ngpus|ppn|gpus)=": "say it with --ranks-per-node, --cores-per-rank, --memory-per-node and "
    "--gpus-per-rank",
    TIME_OPTION: "say it with --walltime (-t)",
    r"(^|\s)-N": "say it with --job-name (-J)",
    r"(^|\s)-[oejk](\s|/|$)": "`mpidask logs` shows the output; --state-directory says where it is kept",
    r"(^|\s)-[dw] *[/~$]": "submit in that directory, or change to it with --prologue 'cd DIRECTORY'",
    r"(^|\s)-S(\s|$)": "leave it out: the job script is bash's",
}

CHOICES = {"queue": r"(?:^|\s)-q *(\S+)", "account": r"(?:^|\s)-[AP] *(\S+)"}

WORKERS = Workers(
    options=(
        "-S {shell}",
        "-N {job_name}",
        "-q {queue}",
        "-A {account}",
        "-l {resource_spec}",
        "-l walltime={walltime}",
        "-e {logs}/",
        "-o {logs}/",
        "-J 1-{count}",
    ),
    resource_spec=("select={nodes}:ncpus={cores}", ":mpiprocs={ranks_per_node}", ":mem={memory:largest}B"),
    index="$PBS_ARRAY_INDEX",
)

#: A job's id with the server that has it, which may be known by its address only.
_ID = r"\d+(?:\[\d*\])?\.(?:\d+(?:\.\d+){3}|[A-Za-z](?:[\w.-]*\w)?)(?:@\w[\w.-]*\w)?"

ACCOUNTING = Accounting(
    command="qstat -x -f {ids}",
    figures={
        "wall": r"^ *resources_used\.walltime = (\S+)",
        "cpu": r"^ *resources_used\.cput = (\S+)",
        "memory of the job": r"^ *resources_used\.mem = (\S+)",
        "asked": r"^ *Resource_List\.mem = (\S+)",
    },
)

SYSTEM = BatchSystem(
    name="pbs",
    title="PBS",
    detect="qstat --version",
    detected=r"pbs_version",
    directive="#PBS",
    options=(
        "-S /bin/bash",
        "-N {name}",
        "-q {queue}",
        "-A {account}",
        (
            "-l select={nodes}:ncpus={cores_per_node}:mpiprocs={ranks_per_node}",
            ":ngpus={gpus_per_node}",
            ":mem={memory_per_node:MiB}mb",
            "{chunk}",
        ),
        "-l place=scatter",  # else the parts may share a node
        "-l walltime={walltime}",
        "-j oe",
        "-o {output}",
    ),
    # Of the PBS_* not what tells where the server is. Another prefix would hide the options.
    outer="PBS_(JOB|O_|NODE|TASK|ARRAY|QUEUE|ENVIRONMENT|MOM|NUM|NP|PPN|GPU|MIC|WALLTIME|VNODE|COOKIE|CPUSET|DPREFIX|NCPUS)\\w*"
    "|PBS_VERSION|NCPUS|BEOWULF_JOB_MAP|QSUB_\\w+",
    several=SEVERAL,
    shape=SHAPE,
    time_option=TIME_OPTION,
    choices=CHOICES,
    name_limit=15,  # before PBS 13, and Torque
    submit="qsub {script}",
    # Alone on its line, in a sentence about a job, or in another one: with a server's name it is an id anywhere.
    job_id=rf"^[ \t]*({_ID})\s*$|^(?=.*(?i:job|request|submitted)).*?\b({_ID})(?![\w.-]*\w)|(?<![\w.-])({_ID})(?![\w.-]*\w)"
    r"|^[ \t]*(\d+(?:\[\d*\])?)\s*$",
    search=Query(
        command="bash -c 'qstat -f $(qselect -u \"$0\")' {user}",
        row=r"^Job Id:\s*(?P<id>\S+)(?:\n(?!Job Id:).*)*",
    ),
    cancel="qdel {ids}",
    status=STATUS,
    # A server that keeps no history, as a fresh one, refuses -x for jobs that wait and run, too, and exits with 0.
    history=dataclasses.replace(STATUS, command="qstat -x -f {ids}"),
    accounting=ACCOUNTING,
    down=Query(command="pbsnodes -l", row=r"^(?P<id>\S+)\s+(?:\S*,)?(?:down|state-unknown)\b.*$"),
    # A server may be asked under another name than that under which it lists its jobs.
    spellings=(r"^([^.]+\.[^.]+)", r"^([^.]+)"),
    # What a job of PBS has, and how qstat prints; not what tells where the server is.
    ignored=r"QSTAT_\w+|QSUB_\w+|PBS_(?!CONF|EXEC|HOME|SERVER|DEFAULT|AUTH|PRIMARY|SECONDARY|TMPDIR|PUBLIC)\w+",
    states={
        JobState.PENDING: "Q T W M",
        JobState.HELD: "H S U",
        JobState.RUNNING: "R E B",
        JobState.DONE: "F X",
        JobState.CANCELLED: "91",
    },
    printed=r"^=>> PBS: .*$",
    queue_list="qstat -Q",
    queue_row=r"^(?P<name>\S+)\s+\d+\s+\d+\s+(?:yes|no)\b",
    reasons={
        r"^91$": "cancelled",
        r"exceeded resource walltime|job killed: walltime": "the walltime was reached",
        r"exceeded resource v?mem|job killed: v?mem": "out of memory",
        r"exceeded resource (ncpus|cput)|job killed: (ncpus|cput)": "it used more CPU time than it may",
        r"dependency .*(never|not).* (be )?satisfied": "waits for a job that failed: it will never start",
        r"[Cc]an [Nn]ever [Rr]un": "asks for more than the site has: it will never start",
        r"Insufficient amount of (queue |server )?resource|Not enough free nodes|Not enough .*available": "waits until enough nodes are free",
        r"would exceed .*limit|User has reached|[Mm]aximum number of jobs": "a limit on your jobs is reached",
        r"due to node failure|[Nn]ode failure|node \S+ (is )?down": NODE_FAILED,
        r"job has a (user|system|other|bad password) hold|[Hh]eld by": "held; release it with `qrls`",
        r"^Job (run at|started on|was sent for execution at) .*(\)|\d| and (finished|failed))$": "",  # as the state
        r"terminated|[Jj]ob deleted": "cancelled",
    },
    refusals={
        r"(?i)unknown queue": "there is no such queue; `qstat -Q` lists them",
        r"(?i)would exceed .*limit on resource|violates queue and/or server resource limits|exceeds queue resource limits": "the job "
        "is beyond a limit of the queue; `qstat -Qf` shows them",
        r"(?i)would exceed .*\bjobs|maximum number of jobs": "you have as many jobs in the queue as the site allows; submit again "
        "when one has ended, or ask for fewer and larger jobs",
        r"(?i)invalid account|invalid project": "you may not use that account",
        r"(?i)unauthorized request|access to queue is denied|ACL ": "you may not use that queue or account",
        r"(?i)rejected by all possible destinations": "no queue takes such a job: see its walltime and its nodes",
        r"(?i)unknown resource": "the site has no such resource",
        r"(?i)not enabled|queue is not": "the queue is closed",
    },
    prologue=('cd "$PBS_O_WORKDIR" || exit 1',),  # a job starts in $HOME
    end_time='[[ $(timeout 20 qstat -f "$PBS_JOBID" 2>/dev/null) =~ Resource_List.walltime\\ =\\ ([0-9]+):([0-9]+):([0-9]+) ]] && '
    "export MPIDASK_END_TIME=$(($(date +%s) + 3600 * 10#${BASH_REMATCH[1]} + 60 * 10#${BASH_REMATCH[2]} + 10#${BASH_REMATCH[3]}))",
    launch_options={"openmpi": '--hostfile "$PBS_NODEFILE"'},
    workers=WORKERS,
)
