"""Slurm: sbatch, squeue, sacct.

https://slurm.schedmd.com/sbatch.html, https://slurm.schedmd.com/squeue.html, https://slurm.schedmd.com/sacct.html.
"""

from mpidask.batch.job_state import NODE_FAILED, JobState
from mpidask.batch.system import Accounting, BatchSystem, Destination, Query, Workers

#: A job, an element of an array, or those that wait: 100_[1-3,7%2].
_ID = r"(?P<id>\d+(?:_\d+)?)(?:_\[(?P<indices>\d[\d,:-]*)(?:,?\.\.\.)?(?:%\d+)?\])?(?:\+0)?"

#: What is listed of each job; of a heterogeneous one its first component stands for it.
_LISTED = "--noheader --array --states=all --Format='JobArrayID:|,StateCompact:|,Reason:|,StartTime:|,exit_code:|,RestartCnt:|'"
_ROW = (
    rf"^{_ID}\|(?P<state>\w+\+?)\|(?P<reason>[^|]*)\|(?P<start>[^|]*)\|(?P<wait>\d+)\|"
    r"(?:(?P<restarts>\d+)\|)?"
)
#: Headings of clusters, and jobs of kinds that mpidask does not submit.
_BESIDES = r"^CLUSTER: .*$|^\d[^|\n]*\|(?:[^|\n]*\|){4,5}$"

#: https://slurm.schedmd.com/sbatch.html#SECTION_INPUT-ENVIRONMENT-VARIABLES
_SAME = (
    "ACCTG_FREQ CONTAINER CORE_SPEC CPUS_PER_GPU DELAY_BOOT DISTRIBUTION EXCLUSIVE EXPORT GET_USER_ENV GPU_BIND "
    "GPU_FREQ GPUS_PER_NODE GPUS_PER_SOCKET GRES GRES_FLAGS HINT IGNORE_PBS MEM_BIND NETWORK NO_KILL NO_REQUEUE "
    "OPEN_MODE OVERCOMMIT POWER PROFILE REQUEUE RESERVATION SPREAD_JOB THREAD_SPEC THREADS_PER_CORE "
    "USE_MIN_NODES WAIT_ALL_NODES WCKEY"
)
_VARIABLES = {f"SBATCH_{name}": f"--{name.lower().replace('_', '-')}" for name in _SAME.split()} | {
    "SBATCH_ACCOUNT": "-A --account",
    "SBATCH_CLUSTERS": "-M --clusters",
    "SLURM_CLUSTERS": "-M --clusters",
    "SBATCH_CONSTRAINT": "-C --constraint",
    "SBATCH_GPUS": "-G --gpus-per-task --gpus",
    "SBATCH_GPUS_PER_TASK": "--gpus --gpus-per-task",
    "SBATCH_MEM_PER_CPU": "--mem --mem-per-gpu --mem-per-cpu",
    "SBATCH_MEM_PER_GPU": "--mem --mem-per-cpu --mem-per-gpu",
    "SBATCH_MEM_PER_NODE": "--mem-per-cpu --mem-per-gpu --mem",
    "SBATCH_PARTITION": "-p --partition",
    "SBATCH_QOS": "-q --qos",
    "SBATCH_REQ_SWITCH": "--switches",
    "SBATCH_TIMELIMIT": "-t --time",
}


def _option(name: str, least: int) -> str:
    """Return a regular expression of a long option, which sbatch also takes without its last letters: --out=FILE.

    least: how many letters tell it from others
    """
    return f"(^|\\s)--({'|'.join(name[:count] for count in range(len(name), least - 1, -1))})(?![\\w-])"


#: An option line that sets the walltime.
_TIME_OPTION = r"(^|\s)(-t *\w|--time[= ])"

SYSTEM = BatchSystem(
    name="slurm",
    title="Slurm",
    detect="sinfo --noheader --format=%P",  # `sinfo --version` answers without a controller
    version="sinfo --version",
    directive="#SBATCH",
    options=(
        "-J {name}",
        "-o {output}",
        "-p {queue}",
        "-A {account}",
        "-N {nodes}",
        "--ntasks-per-node={ranks_per_node}",
        "--cpus-per-task={cores_per_rank}",
        "--gpus-per-task={gpus_per_rank}",
        "--mem={memory_per_node:MiB}M",
        "-t {walltime}",
    ),
    # Not what tells where Slurm is, or how a site's MPI is started. SLURM_* are srun's options, too.
    outer="SLURM_(ACCOUNT|ACCTG_FREQ|ARRAY|BCAST|CLUSTER_NAME|COMPRESS|CONSTRAINT|CORE_SPEC|CPU|CPUS|CPU_BIND|CPU_FREQ|DELAY|DEPENDENCY"
    "|DIST|EXCLUSIVE|EXACT|EXPORT_ENV|GET_USER_ENV|GPU|GPUS|GRES|GTIDS|HET|HINT|IMMEDIATE|JOB|JOBID|JOB_ID|LABELIO|LAUNCH|LOCALID|MEM|MIN_CPUS"
    "|NNODES|NODE|NODEID|NODELIST|NPROCS|NO_KILL|NTASKS|OOM|OVERCOMMIT|OVERLAP|PARTITION|PACK|POWER|PRIO|PROCID|PROFILE|PROG|PTY|QOS|REMOTE"
    "|REQ_SWITCH|RESERVATION|RESTART|RESV|RLIMIT|SCRIPT|SHARDS|SPANK|SPREAD|SRUN|STD|STEP|STEPID|SUBMIT|TASK|TASKS|TASK_PID|TEST|THREAD|THREADS"
    "|TIMELIMIT|TIME_FORMAT|TOPOLOGY|TRES|UMASK|USE_MIN|WAIT4|WCKEY|WHOLE|WORKING_\\w*)(_\\w+)?"
    "|SRUN_\\w+|SALLOC_\\w+|SBATCH_(WAIT|ARRAY_INX|BATCH|DEBUG|ERROR|INPUT|JOB_NAME|OUTPUT|SIGNAL|TEST_ONLY)",
    several={
        rf"(^|\s)-a *\d|{_option('array', 2)}": "submit the script once for each, or let its tasks be the elements",
        r"^(hetjob|packjob)\s*$|(^|\s):(\s|$)": "ask for nodes of one kind, or join several jobs to one scheduler "
        "(`mpidask serve --scheduler-file`)",
        r"(^|\s)(-W|--wait)(\s|$)": "leave it out; `mpidask submit --wait` waits",
        r"(^|\s)--test-only\b": "leave it out; `mpidask submit --dry-run` prints the job script",
    },
    shape={
        r"(^|\s)(-n *\d|--ntasks(-per-node)?[= ]|--tasks-per-node[= ])": "say it with --ranks-per-node",
        r"(^|\s)(-N *\d|--nodes[= ])": "say it with --nodes (-N)",
        r"(^|\s)(-c *\d|--cpus-per-task[= ])": "say it with --cores-per-rank",
        r"(^|\s)--mem[= ]": "say it with --memory-per-node (--mem)",
        r"(^|\s)--gpus-per-task[= ]": "say it with --gpus-per-rank",
        _TIME_OPTION: "say it with --walltime (-t)",
        rf"(^|\s)-J|{_option('job-name', 1)}": "say it with --job-name (-J)",
        rf"(^|\s)-[oei]|{_option('output', 2)}|{_option('error', 2)}|{_option('input', 2)}": "`mpidask logs` shows the "
        "output; --state-directory says where it is kept",
        rf"(^|\s)(-D|--workdir\b)|{_option('chdir', 2)}": "submit in that directory, or change to it with --prologue 'cd DIRECTORY'",
        _option("signal", 2): "say it with --walltime-margin",
        _option("wrap", 2): "give the script to `mpidask submit`",
    },
    time_option=_TIME_OPTION,
    choices={"queue": r"(?:^|\s)(?:-p *|--part[a-z]*[= ])(\S+)", "account": r"(?:^|\s)(?:-A *|--acco[a-z]*[= ])(\S+)"},
    stale={"SLURM_(CPU_BIND|MEM_BIND)\\w*": "", "SLURM_MEM_PER_(CPU|GPU)": "memory_per_node"},
    variables=_VARIABLES,
    prologue=("export SLURM_EXPORT_ENV=ALL",),  # as srun's --export, for launchers that start themselves with srun
    signal=("--signal=B:USR1@{lead:seconds}",),  # B: the job script alone; may come up to 60 s early
    submit="sbatch --parsable {script}",
    # Wrappers may lose --parsable.
    job_id=r"\bSubmitted batch job (\d+)\b|^[ \t]*(\d+)(?:;\S+)?\s*$",
    search=Query(
        command="squeue --noheader --states=all --user={user} --format='%F|%o'",
        row=r"^(?P<id>\d+)\|.*$",
        besides=_BESIDES,
    ),
    cancel="scancel {ids}",
    # https://slurm.schedmd.com/srun.html#OPT_overlap
    step="srun --jobid={id} --overlap --nodes=1 --ntasks=1 --nodelist={host} --mpi=none --quiet",
    # All the user's jobs: a lone job that has left makes `squeue --jobs` fail.
    status=Query(
        command=f"squeue {_LISTED} --user={{user}}",
        row=_ROW,
        besides=_BESIDES,
        here=("--federation",),  # where there is none these are the jobs of the cluster here
    ),
    missed=Query(
        command=f"squeue {_LISTED} --jobs={{id_list}}",
        row=_ROW,
        absent="Invalid job id",
        besides=_BESIDES,
        here=("--federation",),
    ),
    history=Query(
        command="sacct --noheader --parsable2 --allocations --jobs={id_list} --format=JobID,State,ExitCode",
        row=rf"^{_ID}\|(?P<state>\w+\+?)(?P<reason>[^|]*)\|(?P<exit>\d+):(?P<signal>\d+)",
        here=("--federation",),
    ),
    down=Query(command="sinfo --noheader --Node --states=down --format=%n", row=r"^(?P<id>\S+)\s*$"),
    lost=r"^srun: error: Node failure on ([\w.-]*\w)",
    execution="${SLURM_RESTART_COUNT:-0}",
    # At the beginning of the grace time the steps get SIGTERM, but not the job script:
    # https://slurm.schedmd.com/slurm.conf.html#OPT_GraceTime
    preempting='timeout 20 scontrol show job $SLURM_JOB_ID 2>/dev/null | awk \'{for (i = 1; i <= NF; i++) {split($i, w, "="); '
    'v[w[1]] = w[2]}} END {exit !(v["PreemptTime"] ~ /^2/ && v["PreemptTime"] >= v["StartTime"])}\'',
    # That of the partition, or of the QOS where that decides who makes room: https://slurm.schedmd.com/preempt.html
    grace="$(if timeout 20 scontrol show config 2>/dev/null | grep -q '^PreemptType *= *preempt/qos'; then "
    'timeout 20 sacctmgr --noheader --parsable2 show qos where name="$SLURM_JOB_QOS" format=GraceTime 2>/dev/null | '
    "awk '{n = split($0, part, /[-:]/); for (i = 1; i <= n; i++) s = s * (i == 2 && n == 4 ? 24 : 60) + part[i]; print s + 0; exit}'; "
    'else timeout 20 scontrol show partition "$SLURM_JOB_PARTITION" 2>/dev/null | sed -n "s/.*GraceTime=\\([0-9]*\\).*/\\1/p"; fi)',
    preempted="DUE TO PREEMPTION",
    # A line for the job, and one for each of its steps, which have MaxRSS: https://slurm.schedmd.com/sacct.html
    accounting=Accounting(
        command="sacct --noheader --parsable2 --jobs={id_list} --format=JobID,Elapsed,TotalCPU,MaxRSS,ReqMem,ConsumedEnergyRaw",
        figures={
            "wall": r"^\d[^|\n]*\|([\d:.-]+)\|",
            "cpu": r"^\d[^|\n]*\|[^|\n]*\|([\d:.-]+)\|",
            "memory": r"^\d(?:[^|\n]*\|){3}(\d[\d.]*\w?)\|",
            "asked": r"^\d(?:[^|\n]*\|){4}(\d[\d.]*[KMGT]?)[nc]?\|",
            "energy": r"^\d(?:[^|\n]*\|){5}(\d+)$",
        },
    ),
    # https://slurm.schedmd.com/multi_cluster.html
    destinations=(
        Destination(
            words="--clusters={where}",
            options=("--clusters", "--cluster", "-M"),
            variables=("SBATCH_CLUSTERS", "SLURM_CLUSTERS"),
            printed=r"^[ \t]*\d+;(\S+)|\bSubmitted batch job \d+ on cluster (\S*\w)",
        ),
    ),
    # https://slurm.schedmd.com/squeue.html#SECTION_ENVIRONMENT-VARIABLES, and of sacct, scancel, sinfo, scontrol.
    ignored=r"(SQUEUE|SACCT|SCANCEL|SCONTROL|SINFO)_\w+|SLURM_(TIME_FORMAT|CLUSTERS|FEDERATION|BITSTR_LEN|JSON|YAML)",
    states={
        JobState.PENDING: "PD RF RQ RESV_DEL_HOLD PENDING REQUEUED REQUEUE_FED",
        JobState.HELD: "RH S ST SE SPECIAL_EXIT SUSPENDED STOPPED REQUEUE_HOLD",
        JobState.RUNNING: "R CF CG RS SI SO RUNNING CONFIGURING COMPLETING RESIZING SIGNALING STAGE_OUT",
        JobState.DONE: "CD COMPLETED",
        JobState.FAILED: "BF DL F NF OOM PR RV TO BOOT_FAIL DEADLINE FAILED NODE_FAIL OUT_OF_MEMORY "
        "PREEMPTED REVOKED TIMEOUT",
        JobState.CANCELLED: "CA CANCELLED",
    },
    held=r"^JobHeld(User|Admin)$",
    printed=r"^(?:slurmstepd|srun)\S*: error: .*$",
    reasons={
        r"^(TO|TIMEOUT|TimeLimit)$|DUE TO TIME LIMIT": "the walltime was reached",
        r"^(OOM|OUT_OF_MEMORY|OutOfMemory)$|oom.kill event|[Ee]xceeded (job |step )?memory limit": "out of memory",
        r"^(NF|NODE_FAIL|NodeDown)$|DUE TO NODE FAILURE": NODE_FAILED,
        r"^(PR|PREEMPTED)$|DUE TO PREEMPTION": "another job had precedence (preempted)",
        r"^(BF|BOOT_FAIL)$": "a node did not boot",
        r"^(DL|DEADLINE)$": "its deadline was reached",
        r"^(CA|CANCELLED)$|CANCELLED AT": "cancelled",
        r"^RaisedSignal:53\b": "its output file could not be made on the node (the nodes may need another --state-directory)",
        r"^NonZeroExitCode$": "",  # says no more than the exit status
        r"^JobLaunchFailure$": "the job could not be started, or was killed for its memory",
        r"^Priority$": "other jobs come first",
        r"^Resources$": "waits until enough nodes are free",
        r"^Dependency$": "waits for another job",
        r"^DependencyNeverSatisfied$": "waits for a job that failed: it will never start",
        r"^BeginTime$": "waits until its begin time",
        r"^JobHeld(User|Admin)$": "held; release it with `scontrol release`",
        r"^PartitionNodeLimit$": "asks for more nodes than the partition has: it will never start",
        r"^PartitionTimeLimit$": "asks for more time than the partition gives: it will never start",
        r"^PartitionDown$|^PartitionInactive$": "the partition is closed",
        r"^(PartitionConfig|BadConstraints)$": "asks for what the partition has not: it will never start",
        r"^ReqNodeNotAvail|^Nodes required for job are DOWN": "nodes it needs are not available (down, or reserved for maintenance)",
        r"^AssocMaxJobsLimit$|^QOSMaxJobsPerUserLimit$": "you may not run more jobs at once",
        r"^(Assoc|QOS)\w*Limit$": "a limit of your account or QOS is reached",
    },
    refusals={
        r"QOSMaxSubmitJobPerUserLimit|AssocMaxSubmitJobLimit|MaxSubmit": "you have as many jobs in the queue as the site "
        "allows; submit again when one has ended, or ask for fewer and larger jobs",
        r"QOSMax\w+|Job violates accounting/QOS policy": "the job is beyond a limit of your QOS or account (size, time or number)",
        r"invalid partition": "there is no such partition; `sinfo -s` lists them",
        r"[Ii]nvalid account": "you may not use that account; `sacctmgr show associations user=$USER` lists yours",
        r"Memory specification can not be satisfied": "no node has so much memory; `sinfo -o '%P %m'` shows what there is",
        r"Requested node configuration is not available": "no nodes have what the job asks for; `sinfo -o '%P %D %c %m %G'` shows "
        "what there is",
        r"Requested time limit is invalid|time limit exceeds": "the walltime is more than the partition gives; `sinfo -o '%P %l'` "
        "shows how much",
    },
    launcher="srun",
    queue_list="sinfo --noheader --format=%P",
    queue_row=r"^(?P<name>[^*\s]+)(?P<default>\*?)$",
    account_of="sacctmgr --noheader --parsable2 show user {user} format=DefaultAccount",
    end_time="end=$(env -u SLURM_TIME_FORMAT -u SLURM_CLUSTERS timeout 20 squeue --noheader --jobs=$SLURM_JOB_ID --format=%e 2>/dev/null); [[ $end = [0-9]*T* ]] && "
    'export MPIDASK_END_TIME=$(date -d "$end" +%s)',
    workers=Workers(
        options=(
            "-J {job_name}",
            "-e {logs}/{job_name}-{log_id}.err",
            "-o {logs}/{job_name}-{log_id}.out",
            "-p {queue}",
            "-A {account}",
            "-n {tasks}",
            ("-N {several_nodes}", " --ntasks-per-node={ranks_per_node}"),
            "--cpus-per-task={job_cpu}",
            "--mem={job_mem}",
            "-t {walltime}",
            "--array=1-{count}",
        ),
        index="$SLURM_ARRAY_TASK_ID",
        element="{id}_{index}",
        log_id="%J",
        array_log_id="%A_%a",
        walltime=("m", "ms"),
    ),
)
