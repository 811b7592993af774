"""The job scripts of every batch system: as they are printed (jobs/*/), and as bash runs them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from harness import default_signals, pids, read, state

from mpidask.batch import registry
from mpidask.batch.job import BatchJob, Resources
from mpidask.batch.queries.questions import cancel_command
from mpidask.batch.scripts.job_fields import CARRIERS, unsupported_requests
from mpidask.batch.scripts.launchers import LAUNCHERS
from mpidask.batch.scripts.submit_command import job_script, submit_command
from mpidask.batch.system import BatchSystem
from mpidask.errors import UsageError

JOBS = Path(__file__).parents[3] / "jobs"
SYSTEMS = registry.names()
WARNING = [name for name in SYSTEMS if registry.find(name).signal]

#: A job that asks for everything; `asked` leaves out what a system cannot be asked for.
EVERYTHING = BatchJob(
    command=("python", "-m", "mpidask", "flights.py"),
    name="flights",
    resources=Resources(nodes=2, ranks_per_node=4, cores_per_rank=2, gpus_per_rank=1, memory_per_node=16 * 2**30),
    walltime=timedelta(hours=1),
    queue="normal",
    account="project",
    parallel_environment="mpi",
    prologue=("module load mpi",),
)

EXAMPLES = {
    "mpi": dataclasses.replace(  # as `mpidask script` makes it
        EVERYTHING,
        command=("python", "-m", "mpidask", "--workers-per-rank", "auto", "flights.py"),
        resources=Resources(nodes=2, cores_per_rank=8, memory_per_node=16 * 2**30),
    ),
    "workers": dataclasses.replace(
        EVERYTHING,
        command=("python", "-m", "mpidask.cli", "serve", "--no-scheduler", "--scheduler-file", "cluster.json"),
        name="workers",
        resources=Resources(ranks_per_node=2, cores_per_rank=2, memory_per_node=16 * 2**30),
    ),
}

WORDS = [
    "a b",
    "$(touch evil)",
    "`touch evil`",
    "x;y",
    "&",
    "|",
    "'",
    '"',
    "\\",
    "\\\\",
    "new\nline",
    "-n",
    "--",
    "ü→",
    "*",
    "~",
    "",
    "$HOME",
]

#: The program of the jobs that are run: notes its arguments, and does as the first says.
PROGRAM = """
import json, os, signal, sys, time
with open(os.environ["NOTES"], "a") as notes:
    print(json.dumps(sys.argv[1:]), file=notes)
print("says", sys.argv[1], flush=True)
verb, *rest = sys.argv[1].split()
if verb == "exit":
    sys.exit(int(rest[0]))
if verb == "die":
    os.kill(os.getpid(), int(rest[0]))
if verb == "end":
    print(os.environ.get("MPIDASK_END_TIME"))
    sys.exit(99)
if verb == "catch":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
print("ready", flush=True)
for _ in range(1200):
    time.sleep(0.05)
    if verb == "warned" and os.path.exists(os.environ["MPIDASK_WALLTIME_WARNING"]):
        sys.exit(7)
sys.exit(99)
"""

#: Takes off its own options, whose values are in the next word unless they have a '=', and becomes the rest.
LAUNCHER = """#!/bin/bash
[ "${0##*/}" = flux ] && { [ "$1" = run ] || exit 1; shift; }
echo "${0##*/} ${*//$'\n'/ }" >> "$LAUNCHES"
while [ $# -gt 0 ]; do case $1 in --*=*) shift ;; -*) shift 2 ;; *) break ;; esac; done
exec "$@"
"""


def reset(job: BatchJob, fields: list[str]) -> BatchJob:
    """Return the job without what these fields ask for."""
    mine = {
        name: BatchJob.__dataclass_fields__[name].default for name in fields if name in BatchJob.__dataclass_fields__
    }
    shape = {name: Resources.__dataclass_fields__[name].default for name in fields if name not in mine}
    return dataclasses.replace(job, **mine, resources=dataclasses.replace(job.resources, **shape))


def asked(system: BatchSystem, job: BatchJob) -> BatchJob:
    return reset(job, unsupported_requests(system, job))


@pytest.mark.parametrize("example", EXAMPLES)
@pytest.mark.parametrize("name", SYSTEMS)
def test_examples(name, example, request):
    """`pytest --write-jobs` writes them anew."""
    system = registry.find(name)
    job = asked(system, EXAMPLES[example])
    texts = {f"{example}.sh": job_script(system, job)}
    if system.directive is None:
        texts[f"{example}.sub"] = submit_command(system, job, Path(f"{example}.sh")).stdin
    for file, text in texts.items():
        path = JOBS / name / file
        if request.config.getoption("--write-jobs"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        assert path.read_text() == text, "see what has changed, then run pytest --write-jobs"


def test_there_are_no_other_examples():
    found = {path.name for path in JOBS.iterdir() if path.is_dir() and not path.name.startswith("_")}
    assert found == set(SYSTEMS)


@dataclasses.dataclass
class Ground:
    """Where a job script runs, with stand-ins for the launchers on PATH.

    notes:    what the program was called with, once for each call
    launches: what the launchers were called with
    """

    directory: Path
    environment: dict[str, str]

    def __post_init__(self) -> None:
        self.bin = self.directory / "bin"
        self.bin.mkdir()
        (self.directory / "program.py").write_text(PROGRAM)
        for launcher in ("srun", "mpiexec", "jsrun", "flux"):
            self.command(launcher, LAUNCHER)
        for absent in ("squeue", "bjobs", "scontrol"):  # real ones may be there, and wait for their service
            self.command(absent, "#!/bin/sh\nexit 1\n")
        self.environment |= {
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "HOME": str(self.directory),
            "NOTES": str(self.directory / "notes"),
            "LAUNCHES": str(self.directory / "launches"),
            "PBS_O_WORKDIR": str(self.directory),
        }

    def command(self, name: str, text: str) -> str:
        path = self.bin / name
        path.write_text(text)
        path.chmod(0o755)
        return str(path)

    @property
    def notes(self) -> list[list[str]]:
        path = self.directory / "notes"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def launches(self) -> list[str]:
        path = self.directory / "launches"
        return path.read_text().splitlines() if path.exists() else []

    def job(self, *words: str, **fields: Any) -> BatchJob:
        """Return a job of two ranks that runs the program with these words."""
        program = (sys.executable, "-S", "-E", str(self.directory / "program.py"))
        shape = fields.pop("resources", Resources(ranks_per_node=2))
        return BatchJob(
            command=(*program, *words),
            resources=shape,
            parallel_environment=fields.pop("parallel_environment", "mpi"),
            **fields,
        )

    @contextlib.contextmanager
    def running(self, system: str, job: BatchJob, **environment: str):
        """Start the script as a batch system would: from elsewhere, in a session of its own."""
        found = registry.find(system)
        script = self.directory / "job.sh"
        script.write_text(job_script(found, asked(found, job)))
        process = subprocess.Popen(
            ["bash", str(script)],
            cwd=self.directory if "PBS" not in found.title else "/",
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
            preexec_fn=default_signals,  # the tests may run under nohup
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate(timeout=60)

    def run(self, system: str, job: BatchJob, **environment: str) -> tuple[int, str]:
        """Run the script to its end; return its exit status and output."""
        with self.running(system, job, **environment) as process:
            output, _ = process.communicate(timeout=60)
        return process.returncode, output


@pytest.fixture
def ground(tmp_path):
    directory = tmp_path / "a directory"
    directory.mkdir()
    return Ground(directory, {})


@pytest.mark.parametrize("name", SYSTEMS)
def test_words_arrive_verbatim(name, ground):
    prologue = ("shown='from the prologue'", "echo $shown")
    job = ground.job(
        "exit 0", *WORDS, prologue=prologue, epilogue=("echo after: $shown, $status",), walltime=timedelta(hours=1)
    )
    status, output = ground.run(name, job)
    assert (status, output) == (0, "from the prologue\nsays exit 0\nafter: from the prologue, 0\n")
    assert ground.notes == [["exit 0", *WORDS]], "once, and as they were given"
    assert len(ground.launches) == 1
    assert not (ground.directory / "evil").exists()


@pytest.mark.parametrize(
    ("does", "expected"), [("exit 3", 3), ("exit 75", 75), ("die 9", 137), ("die 11", 139), ("exit 255", 255)]
)
@pytest.mark.parametrize("name", SYSTEMS)
def test_exit_status(name, does, expected, ground):
    assert ground.run(name, ground.job(does, epilogue=("true",)))[0] == expected


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_launchers(launcher, ground):
    """Each, where ranks are started with it."""
    job = ground.job("exit 3", "a b", launcher=f"{launcher} --further=option")
    assert ground.run("slurm", job)[0] == 3
    assert ground.notes == [["exit 3", "a b"]]
    (launch,) = ground.launches
    assert "--further=option" in launch


def test_a_launcher_of_the_user(ground):
    """A line whose first word is none of the known launchers."""
    ground.command("aprun", LAUNCHER)
    assert ground.run("pbs", ground.job("exit 0", launcher="aprun -n {ranks} -N {ranks_per_node}"))[0] == 0
    assert ground.launches[0].startswith("aprun -n 2 -N 2 ")


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_single_rank_needs_no_launcher(name, ground):
    assert ground.run(name, ground.job("exit 3", resources=Resources()))[0] == 3
    assert (len(ground.notes), ground.launches) == (1, [])


@pytest.mark.parametrize("name", WARNING)
@pytest.mark.parametrize("recorded", [False, True])
def test_the_batch_systems_warning_becomes_a_file(name, recorded, ground):
    run = ground.directory / "run directory"
    run.mkdir()
    job = ground.job("warned", run_directory=run if recorded else None, walltime=timedelta(hours=1))
    with ground.running(name, job) as process:
        until(lambda: ground.notes)
        process.send_signal(signal.SIGUSR1)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 7, output
    assert not [path for path in ground.directory.rglob("*") if "walltime" in path.name], "it is removed"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("name", SYSTEMS)
def test_a_signal_to_the_script_ends_the_command_in_order(name, number, ground):
    with ground.running(name, ground.job("catch", epilogue=("echo after",))) as process:
        line = process.stdout.readline() + process.stdout.readline()
        assert line == "says catch\nready\n"
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (5, "after\n")


@pytest.mark.parametrize("name", ["slurm", "local", "oar"])
def test_a_launcher_that_is_a_shell_script_leaves_nothing_behind(name, ground):
    """Intel MPI's mpirun is one: a signal ends it at once, but not what it has started."""
    ground.command("mpirun", LAUNCHER.replace('exec "$@"', '"$@"; exit $?'))
    job = ground.job("catch", launcher="mpirun -n 2", epilogue=("echo after",))
    with ground.running(name, job) as process:
        assert process.stdout.readline() + process.stdout.readline() == "says catch\nready\n"
        words = {each: read(each, "cmdline").split("\0") for each in pids()}
        mine = [each for each, its in words.items() if f"{ground.directory}/program.py" in its and "bash" not in its[0]]
        (program,) = mine
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (5, "after\n"), "it ends in order"
    assert state(program) in "ZX"


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_run_directory(name, ground):
    run = ground.directory / "run directory"
    run.mkdir()
    (run / "job.log").write_text("from a job before\n")
    status, output = ground.run(name, ground.job("exit 3", prologue=("echo error >&2",), run_directory=run))
    assert (status, output) == (3, "")
    assert (run / "job.log").read_text() == "from a job before\nerror\nsays exit 3\n"
    assert (run / "status").read_text() == "3\n"


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_prologue_that_ends_the_job(name, ground):
    run = ground.directory / "run"
    run.mkdir()
    status, _ = ground.run(name, ground.job("exit 0", prologue=("module load nothing", "exit 4"), run_directory=run))
    assert (status, (run / "status").read_text(), ground.notes) == (4, "4\n", [])
    assert "module" in (run / "job.log").read_text()


@pytest.mark.parametrize(
    ("does", "accepted", "again"), [("exit 75", True, True), ("exit 75", False, True), ("exit 3", True, False)]
)
@pytest.mark.parametrize("name", SYSTEMS)
def test_submitting_again(name, does, accepted, again, ground):
    run = ground.directory / "run"
    run.mkdir()
    python = ground.command(
        "python", f'#!/bin/bash\nprintf "%s\\n" "$@" > "$HOME/again"\nexit {0 if accepted else 69}\n'
    )
    status, _ = ground.run(name, ground.job(does, run_directory=run, requeue=3, python=shlex.quote(python)))
    assert status == int(does.split()[1])
    asked_again = ground.directory / "again"
    assert asked_again.exists() == again
    if again:
        assert asked_again.read_text().splitlines() == ["-m", "mpidask.cli", "resubmit", str(run)]
    over = (run / "status").exists()
    assert over != (again and accepted), "a job that goes on has no exit status"


@pytest.mark.parametrize(
    ("prologue", "expected"),
    [
        (("mkdir -p scratch.$$", "trap 'rm -rf scratch.$$' EXIT"), 3),
        (("set -euo pipefail",), 3),
        (("trap - TERM EXIT", "exec 2>&1"), 3),
        (("exec false",), 1),
        (("exec true",), 0),
        (("set -e", "false"), 1),
        (("if true; then",), 2),
    ],
)
@pytest.mark.parametrize("name", ["slurm", "local"])
def test_the_status_is_left_whatever_the_user_does_to_the_shell(name, prologue, expected, ground):
    run = ground.directory / "run"
    run.mkdir()
    job = ground.job("exit 3", prologue=prologue, epilogue=("echo after",), run_directory=run)
    assert ground.run(name, job)[0] == expected
    assert (run / "status").read_text() == f"{expected}\n"
    log = (run / "job.log").read_text()
    assert ("after" in log) == (expected == 3)
    assert ("the prologue ended the job with status" in log) == (expected in (0, 1)), log
    assert ("bash cannot read the prologue" in log) == (expected == 2), log
    assert not list(ground.directory.glob("scratch.*"))


@pytest.mark.parametrize("prologue", [(), ("set -euo pipefail",)])
def test_the_epilogue_runs_after_a_run_that_a_signal_has_ended(prologue, ground):
    run = ground.directory / "run"
    run.mkdir()
    job = ground.job("die 15", prologue=prologue, epilogue=("echo after",), run_directory=run)
    assert ground.run("local", job)[0] == 143
    assert "after" in (run / "job.log").read_text()


def test_a_job_submits_itself_again_with_what_its_prologue_has_set(ground):
    run = ground.directory / "run"
    run.mkdir()
    python = "sh -c 'echo again with $MODULES'"
    job = ground.job("exit 75", prologue=("export MODULES=loaded",), run_directory=run, requeue=1)
    assert ground.run("local", dataclasses.replace(job, python=python))[0] == 75
    assert "again with loaded" in (run / "job.log").read_text()
    assert not (run / "status").exists()


@pytest.mark.parametrize("name", ["slurm", "pbs"])
def test_a_launcher_that_starts_no_rank_is_ended(name, ground):
    run = ground.directory / "run"
    run.mkdir()
    for launcher in ("srun", "mpiexec"):
        ground.command(launcher, "#!/bin/bash\necho waiting for PMI >&2\nexec sleep 600\n")
    job = ground.job("exit 0", run_directory=run, launch_timeout=timedelta(seconds=4))
    assert ground.run(name, job)[0] == 70
    text = (run / "job.log").read_text()
    assert text.startswith("waiting for PMI\n"), text
    assert "no rank was started within 4 s" in text
    assert "--launcher" in text
    assert (run / "status").read_text() == "70\n"


def test_a_launcher_that_starts_ranks_is_left_alone(ground):
    run = ground.directory / "run"
    run.mkdir()
    job = ground.job("exit 3", prologue=("set -efu",), run_directory=run, launch_timeout=timedelta(seconds=4))
    assert ground.run("slurm", dataclasses.replace(job, command=("sh", "-c", "sleep 5.5; exit 3")))[0] == 3


def test_what_an_outer_job_or_launcher_has_left_does_not_reach_the_launcher(ground):
    run = ground.directory / "run"
    run.mkdir()
    outer = {"PMI_RANK": "1", "PMIX_SERVER_URI2": "x", "OMPI_COMM_WORLD_RANK": "0", "SLURM_CPU_BIND": "mask_cpu:0x1"}
    outer |= {"SLURM_MEM_PER_CPU": "1", "MPIDASK_END_TIME": "1", "SLURM_EXPORT_ENV": "NONE"}
    mine = {"SLURM_JOB_ID": "1", "SLURM_MEM_PER_NODE": "2", "OMPI_MCA_btl": "tcp", "PMIX_MCA_gds": "hash"}
    ground.environment |= outer | mine
    job = ground.job("exit 0", resources=Resources(ranks_per_node=2, memory_per_node=2**30), run_directory=run)
    assert ground.run("slurm", dataclasses.replace(job, command=("env",)))[0] == 0
    left = dict(line.split("=", 1) for line in (run / "job.log").read_text().splitlines() if "=" in line)
    assert {name for name in outer if name in left} == {"SLURM_EXPORT_ENV"}
    assert left["SLURM_EXPORT_ENV"] == "ALL"
    assert {name: left.get(name) for name in mine} == mine


def test_the_run_knows_its_end(ground):
    status, output = ground.run("slurm", ground.job("end", prologue=("sleep() { :; }",), walltime=timedelta(hours=1)))
    assert (status, abs(int(output.split()[-1]) - time.time() - 3600) < 30) == (99, True), output


@pytest.mark.parametrize(
    ("name", "command", "answer", "left"),
    [
        ("lsf", "bjobs", "1:08 L", 4080),
        ("lsf", "bjobs", "1:08 E", None),  # an estimate that LSF does not enforce
        ("lsf", "bjobs", "-", None),
        ("lsf", "bjobs", "Cannot connect to LSF. Please wait ...", None),
        ("flux", "flux", "3600", 3600),
        ("flux", "flux", "18446744073", None),
        ("flux", "flux", "", None),
        ("pbs", "qstat", "Job Id: 1.s\n    Resource_List.walltime = 01:08:09\n    stime = x", 4089),
        ("torque", "qstat", "qstat: Unknown Job Id 1", None),
        ("slurm", "squeue", "2099-01-01T00:00:00", "2099"),
        ("slurm", "squeue", "NONE", None),
        ("slurm", "squeue", "", None),
        ("slurm", "squeue", "slurm_load_jobs error: Invalid job id specified", None),
    ],
)
def test_the_batch_system_tells_the_end(name, command, answer, left, ground):
    ground.command(command, f"#!/bin/bash\necho {shlex.quote(answer)}\n")
    script = ground.directory / "ends.sh"
    script.write_text(f"{registry.find(name).end_time}\necho ends ${{MPIDASK_END_TIME-never}}\n")
    done = subprocess.run(
        ["bash", script],
        env={**ground.environment, "LSB_JOBID": "1", "SLURM_JOB_ID": "1", "TZ": "UTC"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    (end,) = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("ends")]
    if left is None:
        assert end == "never", done
    else:
        expected = 4070908800 if left == "2099" else time.time() + left
        assert abs(int(end) - expected) < 30, done


@pytest.mark.parametrize(
    ("kind", "time", "expected"),
    [
        ("preempt/partition_prio", "", "90"),
        ("preempt/qos", "00:02:30", "150"),
        ("preempt/qos", "1-01:00:05", "90005"),
        ("preempt/qos", "45", "45"),
        ("preempt/qos", "", ""),
        ("", "", "90"),
    ],
)
def test_the_grace_time_is_that_of_the_partition_or_of_the_qos(kind, time, expected, ground):
    config = f"PreemptMode = REQUEUE\\nPreemptType             = {kind}\\n"
    ground.command(
        "scontrol", f"#!/bin/bash\n[ $2 = config ] && printf '{config}' || echo '   GraceTime=90 Hidden=NO'\n"
    )
    ground.command("sacctmgr", f"#!/bin/bash\n[ -z '{time}' ] || [[ $* != *name=long* ]] || echo '{time}'\n")
    done = subprocess.run(
        ["bash", "-c", f'grace={registry.find("slurm").grace}; echo "$grace"'],
        env={**ground.environment, "SLURM_JOB_PARTITION": "debug", "SLURM_JOB_QOS": "long"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.strip() == expected, done


def until(found, timeout: float = 30) -> None:
    deadline = time.monotonic() + timeout
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# What cannot be asked for.


def wanting() -> list[tuple[str, str]]:
    """Return (system, field) for all that a system has no option for."""
    return [
        (name, field)
        for name in SYSTEMS
        for field in unsupported_requests(registry.find(name), reset(EVERYTHING, ["parallel_environment"]))
    ]


@pytest.mark.parametrize(("name", "field"), wanting())
def test_what_no_option_carries_is_refused(name, field):
    system = registry.find(name)
    job = reset(EVERYTHING, [other for other in CARRIERS if other != field])
    with pytest.raises(UsageError, match=f"{system.title} has no option for {field}") as caught:
        options(system, job)
    assert "--directive" in caught.value.remedy or system.unsupported[field] in caught.value.remedy
    assert "-x by hand" in "\n".join(options(system, dataclasses.replace(job, directives=("-x by hand",))))


def test_what_is_refused_is_known():
    assert ("htcondor", "nodes") in wanting()
    assert ("sge", "nodes") in wanting()
    assert ("flux", "memory_per_node") in wanting()
    assert not [each for each in wanting() if each[0] in ("slurm", "pbs", "torque", "moab", "lsf")]


@pytest.mark.parametrize("name", SYSTEMS)
def test_what_is_not_given_is_left_to_the_site(name):
    system = registry.find(name)
    small, full = ("\n".join(options(system, job)) for job in (BatchJob(command=("true",)), asked(system, EVERYTHING)))
    assert "None" not in small
    for value in ("normal", "project", "1:00", "16384", "3600"):
        assert value not in small
    for field, value in {"queue": "normal", "account": "project"}.items():
        assert (value in full) == (field not in unsupported_requests(system, EVERYTHING))


def options(system: BatchSystem, job: BatchJob) -> list[str]:
    """Return the option lines as the batch system is given them, without their mark."""
    if system.directive is None:
        return submit_command(system, job, Path("job.sh")).stdin.splitlines()
    mark = f"{system.directive} "
    return [line.removeprefix(mark) for line in job_script(system, job).splitlines() if line.startswith(mark)]


@pytest.mark.parametrize("name", SYSTEMS)
def test_directives_come_last_and_verbatim(name):
    directives = ('--comment="a  b" $X {nodes}', "-x")
    assert options(registry.find(name), BatchJob(command=("true",), directives=directives))[-2:] == [*directives]


@pytest.mark.parametrize("name", SYSTEMS)
def test_submission_and_cancellation(name):
    system = registry.find(name)
    job = BatchJob(command=("true",), run_directory=Path("/a b/run"))
    script = Path("/a b/run/job.sh")
    command = submit_command(system, job, script)
    if command.stdin is None:
        assert str(script) in command.argv, "one word"
    elif system.directive is not None:
        assert command.stdin == job_script(system, job)
    else:
        assert f"executable = {script}" in command.stdin.splitlines()
    cancelled = cancel_command(system, ["12", "13"])
    assert "12" in " ".join(cancelled.argv)
    assert "13" in " ".join(cancelled.argv)
