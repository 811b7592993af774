"""No batch system: the job runs here and now, in a session of its own, and outlives the shell."""

from mpidask.batch.job_state import JobState
from mpidask.batch.system import BatchSystem, Query, Workers

_ONE = "there is one node here; submit where a batch system is"

SYSTEM = BatchSystem(
    name="local",
    title="this machine",
    directive="# asked for:",
    options=("{ranks_per_node} ranks of {cores_per_rank} cores",),
    submit=(
        # Its id is told when it has the session that it is cancelled by.
        """bash -c 'setsid nohup "$@" >"$0" 2>&1 </dev/null & while kill -0 $! && ! kill -0 -- -$!; do sleep 0.01; done 2>/dev/null; echo $!' {output}""",
        " timeout --kill-after=10 {walltime:seconds}",
        " bash {script}",
    ),
    job_id=r"^(\d+)$",
    # The first process of a job's session has its number.
    search=Query(
        command="ps -ww -u {user} -o pid=,sid=,args=",
        row=r"^\s*(?P<id>\d+)\s+(?P=id)\s+(?:timeout .*)?bash .*$",
        besides=r"^\s*\d+\s.*$",
    ),
    cancel="""bash -c 'for id; do kill -TERM -- "-$id"; done' cancel {ids}""",
    # The command itself, so that ps finds one. The path tells the job from another process with its number.
    status=Query(
        command="""bash -c 'exec ps -ww -o pid=,stat=,args= -p "$$,$0"' {id_list}""",
        row=r"^\s*(?P<id>\d+)\s+(?P<state>\w)\S*\s+.*/job\.sh\s*$",
        besides=r"^\s*\d+\s.*$",  # other programs have these numbers
    ),
    states={JobState.RUNNING: "R S D I T t", JobState.UNKNOWN: "Z X"},
    allots=False,
    unsupported={
        "nodes": _ONE,
        "queue": _ONE,
        "account": _ONE,
        "memory_per_node": "leave it out: the job has what this machine has; --memory-limit SIZE is for each worker",
        "gpus_per_rank": "leave it out: the workers share the GPUs that are here",
    },
    workers=Workers(options=()),
)
