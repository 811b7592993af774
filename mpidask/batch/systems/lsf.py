"""IBM Spectrum LSF: bsub, bjobs, bkill, bacct.

https://www.ibm.com/docs/en/spectrum-lsf/10.1.0?topic=reference-command.

A slot is taken for a core, as most sites have it. There is no `signal`: LSF sends it to every process of the job
(https://www.ibm.com/docs/en/spectrum-lsf/10.1.0?topic=options-wa), and ranks die of it. At the walltime's end it sends
USR2, then INT, TERM and KILL; the job script itself survives all but the last (LSB_JOB_SCRIPT_TRAP_SIGNALS).
"""

from mpidask.batch.job_state import JobState
from mpidask.batch.system import Accounting, BatchSystem, Query, Workers

_TIME = r"[A-Z][a-z]{2} +\d+ +[\d:]+(?: \d{4})?"  # without a year unless the site asks for it

#: A job's id, of another cluster with its name.
_ID = r"\d+(?:@\w[\w.-]*)?"

#: While bjobs waits for its daemon.
_BESIDES = r"^LSF is processing your request.*$"

#: What bacct tells of a job that has ended, below its headings: CPU_T WAIT TURNAROUND STATUS HOG_FACTOR MEM SWAP.
_ACCOUNTED = r"^ *{} +\d+ +\d+ +(?:done|exit) +[\d.]+ +{}(?= )"

#: An option line that sets the walltime.
_TIME_OPTION = r"(^|\s)-W *\d"

SYSTEM = BatchSystem(
    name="lsf",
    title="LSF",
    detect="lsid",
    detected=r"My cluster name is",
    directive="#BSUB",
    options=(
        "-J {name}",
        "-o {output}",
        "-q {queue}",
        "-P {account}",
        "-n {cores}",
        '-R "span[ptile={cores_per_node}]"',
        '-R "rusage[mem={memory_per_node:MiB}MB/host]"',  # -M limits each process, or all nodes together: sites differ
        '-gpu "num={gpus_per_node}"',
        "-W {walltime:HH:MM}",
    ),
    # Options are read from a script on stdin only. Else bsub would wait for ever where too many jobs are pending:
    # https://www.ibm.com/docs/en/spectrum-lsf/10.1.0?topic=variables-lsb-ntries
    # https://www.ibm.com/docs/en/spectrum-lsf/10.1.0?topic=reference-environment-variables; BSUB_QUIET hides the job id.
    outer="LSB_(JOB|BATCH|MCPU|HOST|DJOB|ERROR|OUTPUT|INPUT|EXEC|EXIT|SUB|MAX_NUM|TRAPSIGS|UNIXGROUP|EFFECTIVE|BIND|ACCUMULATED|CHKPNT"
    "|CONTAINER|DEADLINE|RES|RSRC|RANK|AFFINITY|PJL|PROJECT|APPLICATION|QUEUE|CPUSET|XEXEC|EEXEC|INTERACTIVE)\\w*"
    "|LS_(JOBPID|EXEC_T|SUBCWD)|LSF_(EAUTH_\\w+|JOB_\\w+|SESSION_\\w+|PM_\\w+)|LSFUSER|BSUB_\\w+",
    several={
        r"(^|\s)-J +\S*\[": "submit the script once for each, or let its tasks be the elements",
        r"(^|\s)-K(\s|$)": "leave it out; `mpidask submit --wait` waits",
        r"(^|\s)-I[ps]*(\s|$)": "leave it out: the job runs by itself",
    },
    shape={
        r"(^|\s)-n *\d": "say it with --nodes, --ranks-per-node and --cores-per-rank",
        r"\bspan\[": "say it with --nodes and --ranks-per-node",
        _TIME_OPTION: "say it with --walltime (-t)",
        r"(^|\s)-J": "say it with --job-name (-J)",
        r"(^|\s)-(o|oo|e|eo|i)(\s|/)": "`mpidask logs` shows the output; --state-directory says where it is kept",
        r"(^|\s)-cwd\s": "submit in that directory, or change to it with --prologue 'cd DIRECTORY'",
    },
    time_option=_TIME_OPTION,
    choices={"queue": r"(?:^|\s)-q *(\S+)", "account": r"(?:^|\s)-P *(\S+)"},
    variables={"LSB_DEFAULTQUEUE": "-q queue", "LSB_DEFAULTPROJECT": "-P project"},
    submit="env LSB_NTRIES=2 bsub",
    job_id=rf"\bJob <({_ID})> is submitted",
    search=Query(
        command="""bjobs -a -noheader -o "jobid output_file delimiter='|'\"""",
        row=rf"^(?P<id>{_ID})\|.*$",
        besides=_BESIDES,
    ),
    cancel="bkill {ids}",
    status=Query(
        command="bjobs -a -noheader "
        """-o "jobid stat exit_code start_time estimated_start_time exit_reason jobindex delimiter='|'" {ids}""",
        row=rf"^(?P<id>{_ID})\|(?P<state>\w+)\|(?:(?P<exit>\d+)|-)\|(?:(?P<start>{_TIME})|-)[^|]*\|[^|]*\|(?P<reason>[^|\n]*)(?:\|(?P<index>\d+))?$",
        more={"start": rf"^(?:[^|]*\|){{3}}-\|({_TIME})"},
        absent=r"is not found|No (unfinished )?job found",
        besides=_BESIDES,
    ),
    explain=Query(
        command="bjobs -l {id}",
        row=rf"^Job <(?P<id>{_ID})(?:\[(?P<index>\d+)\])?>[\s\S]*",
        more={"reason": r"^ *(?:PENDING|SUSPENDING) REASONS:\n((?: *\S.*\n)+)"},
    ),
    # https://www.ibm.com/docs/en/spectrum-lsf/10.1.0?topic=reference-bacct
    accounting=Accounting(
        command="bacct -l {id}",
        figures={
            "wall": r"^ *Total Run time consumed: +(\d+)",
            "cpu": _ACCOUNTED.format(r"([\d.]+)", r"\S+"),
            "memory of the job": _ACCOUNTED.format(r"[\d.]+", r"(\d[\d.]*[KMGT]?)"),
        },
    ),
    # https://www.ibm.com/docs/en/spectrum-lsf/10.1.0?topic=reference-bhosts
    down=Query(command="bhosts -w", row=r"^(?P<id>\S+)\s+(?:unavail|unreach)\b.*$"),
    spellings=(r"^(\d+(?:\[\d+\])?)(?:@|$)",),  # bjobs lists it without the cluster
    # https://www.ibm.com/docs/en/spectrum-lsf/10.1.0?topic=reference-environment-variables
    ignored=r"LSB_(BJOBS_\w+|DISPLAY_YEAR|SHORT_HOSTLIST|UGROUP|DEFAULT_USERGROUP|JOB\w+)",
    states={
        JobState.PENDING: "PEND PROV WAIT",
        JobState.HELD: "PSUSP USUSP SSUSP",
        JobState.RUNNING: "RUN",
        JobState.DONE: "DONE",
        JobState.FAILED: "EXIT ZOMBI",
    },
    # https://www.ibm.com/docs/en/spectrum-lsf/10.1.0?topic=jobs-termination-reasons-displayed-by-bacct-bhist-bjobs
    printed=r"^TERM_\w+: .*$",
    reasons={
        r"TERM_RUNLIMIT": "the walltime was reached",
        r"TERM_(MEMLIMIT|SWAP)": "out of memory",
        r"TERM_(FORCE_)?OWNER": "cancelled",
        r"TERM_(FORCE_)?ADMIN": "cancelled by an administrator",
        r"TERM_PREEMPT": "another job had precedence (preempted)",
        r"TERM_(CPU|PROCESS|THREAD)LIMIT": "a limit on CPU time, processes or threads was reached",
        r"TERM_(DEADLINE|WINDOW)": "its deadline, or the time in which the queue runs jobs, has ended",
        r"TERM_CWD_NOTEXIST": "its working directory is not there on the node",
        r"TERM_EXTERNAL_SIGNAL": "killed by a signal",
        r"^UNKWN$": "LSF cannot reach its node",
        r"New job is waiting for scheduling": "just submitted",
        r"[Dd]ependency condition not satisfied": "waits for another job",
        r"specified start time": "waits until its begin time",
        r"suspended by .*(user|owner)": "held; release it with `bresume`",
        r"suspended by .*(admin|root)": "held by an administrator",
        r"(slot|job|pending|resource) limit|has reached": "a limit on running jobs is reached",
        r"resource requirements? .*not satisfied|Not enough|[Rr]eserving|Affinity resource": "no nodes are free now that "
        "have what it asks for",
    },
    refusals={
        r"[Pp]ending job (slot )?threshold": "you have as many jobs in the queue as the site allows; submit again when one "
        "has started, or ask for fewer and larger jobs",
        r"No such queue": "there is no such queue; `bqueues -u $USER` lists yours",
        r"cannot use the queue": "you may not use that queue; `bqueues -u $USER` lists yours",
        r"Too many (processors|tasks|slots) requested": "the queue does not give so many slots; `bqueues -l` shows how many",
        r"exceed queue.s hard limit": "the job is beyond a limit of the queue; `bqueues -l` shows them",
        r"RESRSV_LIMIT": "the queue does not give so much memory; `bqueues -l` shows how much",
        r"(?i)project.*(invalid|not |cannot)|(invalid|bad|unknown) project": "you may not use that account (project)",
        r"Error (in|near|with) ": "LSF does not understand a resource requirement (-R)",
    },
    launch_options={"openmpi": '--hostfile "$LSB_DJOB_HOSTFILE"'},
    end_time='left=$(timeout 20 bjobs -noheader -o time_left "$LSB_JOBID" 2>/dev/null); [[ $left =~ ^([0-9]+):([0-9]+)[[:space:]]L ]] && '
    "export MPIDASK_END_TIME=$(($(date +%s) + 60 * (60 * 10#${BASH_REMATCH[1]} + 10#${BASH_REMATCH[2]})))",
    workers=Workers(
        options=(
            ("-J {job_name}", "[1-{count}]"),
            "-e {logs}/{job_name}-{log_id}.err",
            "-o {logs}/{job_name}-{log_id}.out",
            "-q {queue}",
            '-P "{project}"',
            "-n {ncpus}",
            '-R "span[hosts={hosts}]"',
            '-R "span[ptile={ptile}]"',
            "-M {lsf_memory}",
            "-W {walltime}",
        ),
        index="$LSB_JOBINDEX",
        log_id="%J",
        array_log_id="%J.%I",
        walltime=("m", "hm"),
    ),
)
