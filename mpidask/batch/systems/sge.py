"""Grid Engine: qsub(1), qstat(1), qacct(1), sge_status(5).

https://manpages.debian.org/bookworm/gridengine-client/.

A job of more than one slot needs a parallel environment, whose names are the site's. With `-l s_rt` Grid Engine can
warn of the walltime, but then ends the job 80 s late: the run's own clock does it instead.
"""

from mpidask.batch.job_state import NODE_FAILED, JobState
from mpidask.batch.system import Accounting, BatchSystem, Destination, Query, Workers

_PE = "name the site's parallel environment with --parallel-environment (`qconf -spl` lists them): it spreads the slots"

#: An option line that sets the walltime.
_TIME_OPTION = r"(^|\s)-l *\S*\bh_rt="

SYSTEM = BatchSystem(
    name="sge",
    title="Grid Engine",
    detect="qstat -help",
    detected=r"^(SGE|GE|UGE|OGS|SOGE|AGE|Univa|Altair)\b",
    directive="#$",
    options=(
        "-S /bin/bash",
        "-N {name}",
        "-q {queue}",
        "-P {account}",
        "-pe {parallel_environment} {cores}",
        "-l h_rt={walltime}",
        "-cwd",
        "-j y",
        "-o {output}",
    ),
    outer="JOB_(ID|NAME|SCRIPT)|NSLOTS|NHOSTS|NQUEUES|QUEUE|REQUEST|RESTARTED|REQNAME|ARC|PE|PE_HOSTFILE"
    "|SGE_(TASK|O|STDOUT|STDERR|STDIN|JOB|BINARY|ACCOUNT|CKPT|CWD|BINDING|HGR)_\\w+",
    several={
        r"(^|\s)-t *\d": "submit the script once for each, or let its tasks be the elements",
        r"(^|\s)-sync +[yY]": "leave it out; `mpidask submit --wait` waits",
        r"(^|\s)-now +[yY]": "leave it out: the job waits until it can start",
    },
    shape={
        r"(^|\s)-pe\s": "say it with --parallel-environment, --nodes, --ranks-per-node and --cores-per-rank",
        _TIME_OPTION: "say it with --walltime (-t)",
        r"(^|\s)-N": "say it with --job-name (-J)",
        r"(^|\s)-(o|e|j|i)\s": "`mpidask logs` shows the output; --state-directory says where it is kept",
        r"(^|\s)-wd\s": "submit in that directory, or change to it with --prologue 'cd DIRECTORY'",
        r"(^|\s)-S\s": "leave it out: the job script is bash's",
    },
    time_option=_TIME_OPTION,
    choices={"queue": r"(?:^|\s)-q +(\S+)", "account": r"(?:^|\s)-[AP] +(\S+)"},
    submit="qsub -terse {script}",
    job_id=r"\bYour job(?:-array)? (\d+)\b|^[ \t]*(\d+)(?:\.\d+-\d+:\d+)?\s*$",
    search=Query(command="qstat -j {name}", row=r"^job_number: +(?P<id>\d+)(?:\n(?!={5}).*)*"),
    cancel="qdel {ids}",
    status=Query(
        command="qstat -u {user} -g d -xml",
        row=r"<job_list\b(?:(?!</job_list>)[\s\S])*?<JB_job_number>(?P<id>\d+)</JB_job_number>(?:(?!</job_list>)[\s\S])*",
        besides=r"^[\s\S]*</job_info>\s*</job_info>\s*\Z",
        more={"state": r"<state>(\w+)</state>", "start": r"<JAT_start_time>([^<]+)<", "index": r"<tasks>(\d+)</tasks>"},
    ),
    explain=Query(
        command="qstat -j {base}",
        row=r"^job_number: +(?P<id>\d+)[\s\S]*",
        more={"reason": r"^error reason +\d+: +(.+)|^scheduling info: +(.+(?:\n +.+)*)"},
    ),
    # A host that does not answer has no load.
    down=Query(command="qhost", row=r"^(?P<id>\S+) +\S+ +\d+(?: +\d+)* +- .*$"),
    # https://gridscheduler.sourceforge.net/htmlman/htmlman5/accounting.html
    accounting=Accounting(
        command="qacct -j {id}",
        figures={
            "wall": r"^ru_wallclock +([\d.]+)",
            "cpu": r"^cpu +([\d.]+)",
            "memory of the job": r"^maxvmem +(\d[\d.]*\w?)",
        },
        added=("cpu", "memory of the job"),  # each node's task has a record of its own: sge_pe(5), accounting_summary
    ),
    history=Query(
        command="qacct -j {base}",
        row=r"^qname .*(?:\n(?!={5}).*)*?\njobnumber +(?P<id>\d+).*(?:\n(?!={5}).*)*",
        more={
            # What has ended by itself has used something: all zero is a job whose node no more told of its end.
            "reason": r"^failed +([1-9].*\S)|^(ru_minflt +0) *$",
            "exit": r"^exit_status +(\d+)",
            "index": r"^taskid +(\d+)",
            "lost": r"^hostname +(\S+)(?=[\s\S]*^failed +(?:19|21) )",
        },
    ),
    destinations=(Destination(assigns="SGE_CELL", variables=("SGE_CELL",)),),
    ignored=r"SGE_(LONG_\w+|SINGLE_LINE|TASK\w*|O_\w+)|JOB_\w+",
    states={
        JobState.PENDING: "qw Rq",
        JobState.HELD: "hqw hRwq s S ts tS T tT Rs RS RT",
        JobState.RUNNING: "r t Rr Rt hr dr dt dRr dRt ds dS dT",
        JobState.FAILED: "Eqw Ehqw EhRqw dEqw",
    },
    reasons={
        r"^37 |enforced h_rt": "the walltime (h_rt) was reached, or a limit on CPU time or memory",
        r"^100 ": "killed by a signal",
        r"^ru_minflt": "cancelled by force (qdel -f), without an answer of its node",
        # 19: "probably program or machine crash", 21: the node does not know the job any more. sge_status(5)
        r"^(19|21) ": NODE_FAILED,
        r"^26 |can.t open output file": "its output file could not be opened",
        r"^(27|28) ": "its shell or working directory could not be used",
        r"not available in queues? due to too few slots|offers? only 0 slots|only offers \d+ slots": "there are not enough free slots in that parallel "
        "environment",
        r"has no permission|cannot run in queue .* because it is not contained": "no queue that it may use offers what it asks for",
    },
    refusals={
        r"unknown queue": "there is no such queue; `qconf -sql` lists them",
        r"parallel environment .* does not exist|job rejected: the requested parallel environment": "there is no such parallel "
        "environment; `qconf -spl` lists them",
        r"max_u_jobs|[Oo]nly \d+ jobs (are|is) allowed per user": "you have as many jobs in the queue as the site allows; submit again "
        "when one has ended",
        r"unknown resource": "the site has no such resource; `qconf -sc` lists them",
        r"no suitable queues": "no queue can ever run it: it asks for too much",
    },
    # Open MPI 5 knows nothing of Grid Engine: it is told how to reach the nodes, and which.
    prologue=("export PRTE_MCA_plm_ssh_agent='qrsh -inherit -nostdin -V'",),
    launch_options={"openmpi": """--host "$(awk '{printf s $1 ":" $2; s = ","}' "$PE_HOSTFILE")\""""},
    unsupported={
        "nodes": _PE,
        "ranks_per_node": _PE,
        "cores_per_rank": _PE,
        "memory_per_node": "sites differ: ask with --directive, such as '-l h_vmem=4G' or '-l mem_free=4G' (each slot's)",
        "gpus_per_rank": "sites differ: ask with --directive, such as '-l gpu=1'",
    },
    workers=Workers(
        options=(
            "-S {shell}",
            "-N {job_name}",
            "-q {queue}",
            "-P {project}",
            "-l {resource_spec}",
            "-pe {parallel_environment} {slots}",
            "-l h_rt={walltime}",
            "-e {logs}/",
            "-o {logs}/",
            "-cwd",
            "-j y",
            "-t 1-{count}",
        ),
        index="$SGE_TASK_ID",
        element="{id}.{index}",
    ),
)
