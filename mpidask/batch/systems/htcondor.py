"""HTCondor: condor_submit, condor_q, condor_history.

https://htcondor.readthedocs.io/en/latest/man-pages/condor_submit.html, condor_q.html, condor_history.html.

Its options are a submit description: a text of its own that condor_submit reads from stdin. A job of the vanilla
universe has one machine. It is given no signal ahead of its end.
"""

from mpidask.batch.job_state import JobState
from mpidask.batch.system import BatchSystem, Destination, Query, Workers

SYSTEM = BatchSystem(
    name="htcondor",
    title="HTCondor",
    detect="condor_q -totals",
    detected=r"\d+ jobs;",
    version="condor_version",
    directive=None,
    options=(
        "universe = vanilla",
        "executable = {script}",
        "batch_name = {name}",
        "output = {name}-$(Cluster).out",  # else it is lost; a second time counts
        "error = {name}-$(Cluster).out",
        "output = {output}",
        "error = {output}",
        "getenv = True",  # a job has no environment otherwise, not even HOME
        "should_transfer_files = NO",  # the job runs in this directory, on a file system that machines share
        "accounting_group = {account}",
        "request_cpus = {cores_per_node}",
        "request_memory = {memory_per_node:MiB}",
        "request_gpus = {gpus_per_node}",
        # allowed_job_duration would leave the job in the queue, on hold.
        "periodic_remove = JobStatus == 2 && time() - JobCurrentStartDate > {walltime:seconds}",
    ),
    outer="_CONDOR_(JOB_\\w+|MACHINE_AD|SCRATCH_DIR|SLOT\\w*|WRAPPER_ERROR_FILE|CHIRP_\\w+|CREDS|BIN|AssignedGPUs)|BATCH_SYSTEM",
    several={r"(?i)^queue\b": "submit the script once for each, or let its tasks be the elements"},
    shape={
        r"(?i)^request_?cpus *=": "say it with --cores-per-rank",
        r"(?i)^request_?memory *=": "say it with --memory-per-node (--mem)",
        r"(?i)^(executable|universe|arguments) *=": "give the script to `mpidask submit`",
        r"(?i)^(output|error|input) *=": "`mpidask logs` shows the output; --state-directory says where it is kept",
        r"(?i)^initial_?dir *=": "submit in that directory, or change to it with --prologue 'cd DIRECTORY'",
    },
    choices={"account": r"(?i)^accounting_?group *= *(\S+)"},
    submit="condor_submit -terse - -queue 1",
    job_id=r"^(\d+)\.\d+ - \d+\.\d+\s*$|job\(s\) submitted to cluster (\d+)",
    search=Query(command="condor_q {user} -autoformat ClusterId Cmd Out", row=r"^(?P<id>\d+) .*$"),
    cancel="condor_rm {ids}",
    # https://htcondor.readthedocs.io/en/latest/classad-attributes/job-classad-attributes.html
    status=Query(
        command="condor_q {ids} -autoformat ClusterId JobStatus JobCurrentStartDate ExitCode ExitSignal NumJobStarts HoldReason",
        row=r"^(?P<id>\d+) (?P<state>\d) (?:(?P<start>\d+)|\w+) (?:(?P<exit>\d+)|\w+) (?:(?P<signal>\d+)|\w+) "
        r"(?:(?P<starts>\d+) |undefined )?(?P<reason>.*)$",
    ),
    explain=Query(
        command="condor_q -better-analyze {id}",
        row=r"^(?P<id>\d+)\.\d+: [\s\S]*",
        more={
            "reason": r"(Of \d+ machines,\s+\d+ are rejected by your job's requirements)|^\d+\.\d+: +((?:Job|Request) .*)"
        },
    ),
    history=Query(
        command="condor_history {id} -limit 1 -autoformat ClusterId JobStatus ExitCode ExitSignal RemoveReason",
        row=r"^(?P<id>\d+) (?P<state>\d) (?:(?P<exit>\d+)|\w+) (?:(?P<signal>\d+)|\w+) (?P<reason>.*)$",
    ),
    # https://htcondor.readthedocs.io/en/latest/man-pages/condor_submit.html: -name, -remote, -pool
    destinations=(
        Destination(words="-name {where}", options=("-name", "-remote"), variables=("_CONDOR_SCHEDD_HOST",)),
        Destination(words="-pool {where}", options=("-pool",), variables=("_CONDOR_COLLECTOR_HOST",)),
    ),
    states={
        JobState.PENDING: "1",
        JobState.HELD: "5 7",
        JobState.RUNNING: "2 6",
        JobState.DONE: "4",
        JobState.CANCELLED: "3",
    },
    reasons={
        r"PeriodicRemove expression '.*JobCurrentStartDate": "the walltime was reached",
        r"PeriodicRemove|SYSTEM_PERIODIC_REMOVE": "removed by a rule of the site",
        r"via condor_rm": "cancelled",
        r"via condor_hold": "held; release it with `condor_release`",
        r"memory limit|out-of-memory|MEMORY_EXCEEDED|memory usage exceeded": "out of memory",
        r"[Jj]ob (exceeded|has gone over) .*(duration|time|disk)": "a limit of the site on time or disk was reached",
        r"Failed to execute|Cannot (access|open)|[Ee]rrno|errno=": "the machine cannot reach the job's files: is this directory "
        "on a file system that machines share?",
        r"Transfer \w+ files failure|transfer": "files could not be transferred",
        r"Of (\d+) machines, \1 are rejected": "no machine has what the job asks for, or shares this file system "
        "(`condor_q -better-analyze`)",
        r"Of \d+ machines,": "waits for one of the machines that have what it asks for",
        r"not yet been considered": "waits for HTCondor's next look at the queue",
    },
    refusals={
        r"MAX_JOBS_(SUBMITTED|PER_OWNER|PER_SUBMISSION)": "you have as many jobs in the queue as the site allows; submit again "
        "when one has ended, or ask for fewer and larger jobs",
        r"(?i)getenv.*not allowed|SUBMIT_ALLOW_GETENV": "the site does not let jobs take the environment along: add "
        "--directive 'getenv = False'",
        r"(?i)accounting.?group.*(invalid|not|unknown)": "you may not use that accounting group",
        r"(?i)can.?t (find|connect to).*(schedd|queue)|[Ff]ailed to connect": "HTCondor's queue (condor_schedd) does not answer",
    },
    unsupported={
        "nodes": "one machine is what a job gets: ask for one node with more ranks or cores, or join several jobs to one "
        "scheduler (`mpidask serve --scheduler-file`)",
        "queue": "there are no queues: choose machines with --directive 'requirements = ...'",
    },
    workers=Workers(options=()),  # what is submitted is made by jobqueue.htcondor
)
