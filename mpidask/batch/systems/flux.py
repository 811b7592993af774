"""Flux: flux-batch(1), flux-jobs(1), flux-cancel(1).

https://flux-framework.readthedocs.io/projects/flux-core/en/latest/man1/flux-batch.html, flux-jobs.html.

There is no `signal`: --signal goes to every rank (https://github.com/flux-framework/flux-core/issues/6729). A job script
that is cancelled gets HUP. In a job `flux` means the job's own instance: a job that submits another one does so in the
instance that runs it.
"""

from mpidask.batch.job_state import NODE_FAILED, JobState
from mpidask.batch.system import BatchSystem, Destination, Query, Workers

#: What follows the first letter of a job's id: https://flux-framework.readthedocs.io/projects/flux-rfc/en/latest/spec_19.html
_F58 = "[1-9A-HJ-NP-Za-km-z]+"

#: In a job: the instance that runs it.
_PARENT = "MPIDASK_FLUX_URI"

#: An option line that sets the walltime.
_TIME_OPTION = r"^(-t|--time-limit\b)"

SYSTEM = BatchSystem(
    name="flux",
    title="Flux",
    detect="flux uptime",
    version="flux --version",
    directive="# flux:",
    options=(
        "--job-name={name}",
        "--output={output}",
        "--queue={queue}",
        "--bank={account}",
        "--nodes={nodes}",
        "--nslots={ranks}",
        "--cores-per-slot={cores_per_rank}",
        "--gpus-per-slot={gpus_per_rank}",
        "--time-limit={walltime:seconds}s",
    ),
    outer=f"FLUX_(JOB|TASK)_\\w+|FLUX_KVS_NAMESPACE|{_PARENT}",
    several={r"^--b?cc\b": "submit the script once for each, or let its tasks be the elements"},
    shape={
        r"^(-N|--nodes\b)": "say it with --nodes (-N)",
        r"^(-n|--nslots\b)": "say it with --ranks-per-node",
        r"^(-c|--cores-per-slot\b)": "say it with --cores-per-rank",
        _TIME_OPTION: "say it with --walltime (-t)",
        r"^--job-name\b": "say it with --job-name (-J)",
        r"^--(output|error|input)\b": "`mpidask logs` shows the output; --state-directory says where it is kept",
        r"^--cwd\b": "submit in that directory, or change to it with --prologue 'cd DIRECTORY'",
        r"^--wrap\b": "give the script to `mpidask submit`",
    },
    time_option=_TIME_OPTION,
    choices={"queue": r"^(?:-q *|--queue[= ])(\S+)", "account": r"^(?:-B *|--bank[= ])(\S+)"},
    # Job ids start with an f that is not in ASCII, unless told:
    # https://flux-framework.readthedocs.io/projects/flux-core/en/latest/man7/flux-environment.html
    submit='bash -c \'FLUX_F58_FORCE_ASCII=1 exec flux batch --setattr=user.mpidask="$0" "$0"\' {script}',
    # A word of lower-case letters, such as `finished`, hardly ever is an id.
    job_id=rf"^[ \t]*(ƒ{_F58}|f(?=[a-z]*[1-9A-Z]){_F58})\s*$|^[ \t]*(f{_F58})\s*$",
    search=Query(
        command="""bash -c 'ids=$(flux jobs -a --no-header --name="$0" --format={{id.f58}}) || exit; for id in $ids; do echo "$id $(flux job info "$id" jobspec | grep -o "\\"mpidask\\": *\\"[^\\"]*")"; done' {name}""",
        row=r"^(?P<id>[fƒ]\w+) .*$",
    ),
    cancel="flux cancel {ids}",
    # https://flux-framework.readthedocs.io/projects/flux-core/en/latest/man1/flux-exec.html
    step="flux exec --jobid={id} --rank={index}",
    status=Query(
        command="env FLUX_F58_FORCE_ASCII=1 flux jobs --no-header --format='{{id.f58}}|{{status_abbrev}}|{{returncode}}|"
        "{{t_run!D:h}}|{{sched.t_estimate!D:h}}|{{contextual_info}}|{{exception.type}} {{exception.note}}' {ids}",
        row=r"^(?P<id>[fƒ]\w+)\|(?P<state>\w+)\|(?:-128|-(?P<signal>\d+)|(?P<exit>\d*))\|(?P<start>[^|]*)\|[^|]*\|[^|]*\|(?P<reason>.*)$",
        more={
            "state": r"^[^|]*\|S\|[^|]*\|[^|]*\|[^|]*\|(held|priority-hold)\|",
            "start": r"^[^|]*\|[^|]*\|[^|]*\|-\|([^|]*)",
            "reason": r"^[^|]*\|[DPS]\|[^|]*\|[^|]*\|[^|]*\|([^|]+)\|",  # elsewhere it names the nodes
            "lost": r"\|node-failure .*\bfailure on (\S+)",
        },
        absent=r"JobID \S+ unknown",
    ),
    destinations=(Destination(assigns="FLUX_URI", variables=(_PARENT, "FLUX_URI")),),
    spellings=(rf"^[fƒ]({_F58})$",),  # a terminal that knows the letter shows it
    states={
        JobState.PENDING: "D P S",
        JobState.HELD: "held priority-hold",
        JobState.RUNNING: "R C",
        JobState.DONE: "CD",
        JobState.FAILED: "F TO",
        JobState.CANCELLED: "CA",
    },
    # RFC 21: https://flux-framework.readthedocs.io/projects/flux-rfc/en/latest/spec_21.html
    reasons={
        r"^timeout\b|^TO$": "the walltime was reached",
        r"^cancel\b|^CA$": "cancelled",
        r"^node-failure|[Nn]ode failure|lost contact": NODE_FAILED,
        r"unsatisfiable": "no nodes have what the job asks for: it will never start",
        r"^alloc\b": "no nodes could be given to it",
        r"^held$": "held; release it with `flux job urgency ID default`",
        r"^priority-(hold|wait)$": "waits for its priority, which your account (bank) gives",
        r"^depends:.*max-?(running|run|cores|nodes|resources)": "you may not run more jobs at once",
        r"^depends:begin": "waits until its begin time",
        r"^depends:": "waits for another job",
        r"^eta:": "waits until enough nodes are free",
    },
    refusals={
        r"max active jobs": "you have as many jobs in the queue as the site allows; submit again when one has ended",
        r"not a valid queue|[Ii]nvalid queue|[Qq]ueue not valid": "there is no such queue, or not for you; `flux queue list` lists them",
        r"submission to \S+ is disabled|[Jj]ob submission is disabled": "the queue is closed",
        r"user/bank|bank .*(disabled|not)|cannot find": "you may not use that account (bank)",
        r"exceeds policy limit": "the job is beyond a limit of the queue; `flux queue list` shows them",
        r"[Uu]nsatisfiable": "no nodes have what the job asks for; `flux resource list` shows what there is",
    },
    launcher="flux",
    prologue=(f'uri=$(flux getattr parent-uri 2>/dev/null) && [ -n "$uri" ] && export {_PARENT}=$uri',),
    launch_options={
        "openmpi": '--host "$(flux hostlist --expand --delimiter=, instance)"',
        "hydra": '-hosts "$(flux hostlist --expand --delimiter=, instance)"',
    },
    end_time="left=$(flux job timeleft 2>/dev/null); [[ $left =~ ^[0-9]{1,9}$ ]] && "
    "export MPIDASK_END_TIME=$(($(date +%s) + left))",
    unsupported={
        "memory_per_node": "memory comes with the cores: ask for more of them, or for whole nodes with --directive=--exclusive"
    },
    workers=Workers(
        options=(
            "--job-name={job_name}",
            "--output={logs}/{job_name}-{log_id}.out",
            "--queue={queue}",
            "--bank={account}",
            "--nodes={nodes}",
            "--nslots={ranks}",
            "--cores-per-slot={cores_per_rank}",
            "--time-limit={walltime}",
        ),
        log_id="{{id}}",
    ),
)
