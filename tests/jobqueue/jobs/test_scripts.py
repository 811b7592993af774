"""The job scripts of per-worker jobs: the lines that users of dask-jobqueue know, and those that make a cluster of them."""

from __future__ import annotations

import dataclasses
import itertools
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import dask
import pytest
from distributed.security import Security

from mpidask.batch import registry
from mpidask.errors import ArgumentError
from mpidask.jobqueue import FluxJob, HTCondorJob, LocalJob, LSFJob, MoabJob, OARJob, PBSJob, SGEJob, SLURMJob
from mpidask.jobqueue.jobs.script import job_script
from mpidask.jobqueue.jobs.spec import JobRange
from mpidask.jobqueue.jobs.walltime import walltime_seconds
from mpidask.jobqueue.jobs.worker_command import worker_command
from mpidask.jobqueue.keywords import configuration, table

pytestmark = pytest.mark.one_mpi

SCHEDULER = "tcp://10.0.0.1:8786"
LOGS = Path("/logs")

KINDS = {
    "slurm": SLURMJob,
    "pbs": PBSJob,
    "moab": MoabJob,
    "sge": SGEJob,
    "lsf": LSFJob,
    "oar": OARJob,
    "flux": FluxJob,
    "local": LocalJob,
    "htcondor": HTCondorJob,
}
#: What some systems cannot do without.
NEEDED = {"oar": {"memory_per_core_property_name": "not_applicable"}, "htcondor": {"disk": "1 GB"}}
SCRIPTED = [name for name in KINDS if name not in ("htcondor", "local")]


@pytest.fixture(autouse=True)
def nobodys_configuration(monkeypatch):
    """The defaults count, whatever whoever runs the tests has configured."""
    for name in ("PBS_ACCOUNT", "LSF_ENVDIR", "LSF_CONFDIR"):
        monkeypatch.delenv(name, raising=False)
    with dask.config.set({"jobqueue": configuration.defaults()}):
        yield


def make(native, **given):
    common = {"cores": 4, "memory": "8GB", "python": "python3", **NEEDED.get(native, {})}
    return KINDS[native](scheduler=SCHEDULER, name="w-0", **{**common, **given})


def header(job, job_range=None):
    """Return the option lines without their mark."""
    mark = job.system.directive
    return [line.removeprefix(f"{mark} ") for line in job.spec.header(job_range)]


def worker(text):
    """Return the one line of a script that starts workers."""
    (line,) = [line for line in text.splitlines() if "dask_worker" in line]
    return line


def ordered(text, *lines):
    found = text.splitlines()
    places = [found.index(line) for line in lines]
    return places == sorted(places)


# As sites' documentation has it.


def test_gadi_s_recipe_takes_out_the_select_line_and_asks_in_gadi_s_own_words():
    job = PBSJob(
        SCHEDULER,
        "w-0",
        cores=48,
        memory="190GB",
        job_extra_directives=["-P xy12", "-l ncpus=48", "-l mem=190GB"],
        job_directives_skip=["select"],
        job_script_prologue=["module load python3"],
        python="python3",
        shebang="#!/bin/bash",
        local_directory="$TMPDIR",
        interface="ib0",
        walltime="01:00:00",
    )
    text = job.job_script()
    assert text.splitlines()[:2] == ["#!/bin/bash", ""]
    assert job.job_header.splitlines() == [
        "#PBS -S /bin/bash",
        "#PBS -N dask-worker",
        "#PBS -l walltime=01:00:00",
        "#PBS -P xy12",
        "#PBS -l ncpus=48",
        "#PBS -l mem=190GB",
    ]
    line = worker(text)
    assert ordered(text, "#PBS -l mem=190GB", "module load python3", line)
    assert line.startswith(f"python3 -m distributed.cli.dask_worker {SCHEDULER} --name w-0 --nthreads ")
    assert " --local-directory $TMPDIR " in line, "the node's shell fills it in"
    assert " --interface ib0" in line


def test_leonardo_s_recipe_has_one_task_on_each_node():
    job = make(
        "slurm",
        cores=32,
        memory="480GB",
        queue="dcgp_usr_prod",
        account="abc_1",
        walltime="01:00:00",
        job_extra_directives=["--tasks-per-node=1"],
    )
    assert header(job) == [
        "-J dask-worker",
        "-p dcgp_usr_prod",
        "-A abc_1",
        "-n 1",
        "--cpus-per-task=32",
        "--mem=448G",
        "-t 01:00:00",
        "--tasks-per-node=1",
    ]


def test_a_resource_spec_replaces_the_default_one():
    assert "-l select=1:ncpus=4:mem=7630MB" in header(make("pbs"))
    lines = header(make("pbs", resource_spec="select=1:ncpus=24:mem=100GB:node_type=skylake"))
    assert "-l select=1:ncpus=24:mem=100GB:node_type=skylake" in lines
    assert not any("7630MB" in line for line in lines)


def test_cores_and_memory_are_divided_among_processes():
    job = make("pbs", cores=24, memory="100GB", processes=6)
    assert (job.worker_processes, job.worker_process_threads, job.worker_process_memory) == (6, 4, "15.52GiB")
    assert (job.worker_cores, job.worker_memory) == (24, 100 * 10**9)
    assert " --nthreads 4 --memory-limit 15.52GiB --nworkers 6 --nanny " in worker(job.job_script())
    assert "-l select=1:ncpus=24:mem=94GB" in header(job)


def test_pbs_account_of_the_environment_pays_where_none_is_given(monkeypatch):
    monkeypatch.setenv("PBS_ACCOUNT", "env1")
    assert "-A env1" in header(make("pbs"))
    assert "-A mine" in header(make("pbs", account="mine"))
    assert "-A env1" not in header(make("slurm"))


# Every system.

#: system -> the option lines for 4 cores and 8 GB, a queue and an account or project named
HEADERS = {
    "slurm": "-J dask-worker|-p q|-A a|-n 1|--cpus-per-task=4|--mem=8G|-t 00:30:00",
    "pbs": "-S /bin/bash|-N dask-worker|-q q|-A a|-l select=1:ncpus=4:mem=7630MB|-l walltime=00:30:00",
    "moab": "-S /bin/bash|-N dask-worker|-q q|-A a|-l select=1:ncpus=4:mem=7630MB|-l walltime=00:30:00",
    "sge": "-S /bin/bash|-N dask-worker|-q q|-P a|-l h_rt=00:30:00|-cwd|-j y",
    "lsf": '-J dask-worker|-q q|-P "a"|-n 4|-R "span[hosts=1]"|-M 8000000|-W 00:30',
    "oar": "-n dask-worker|-q q|--project a|-l /nodes=1/core=4,walltime=00:30:00",
    "flux": "--job-name=dask-worker|--queue=q|--bank=a|--nodes=1|--nslots=1|--cores-per-slot=4|--time-limit=30m",
    "local": "",
}


@pytest.mark.parametrize("native", HEADERS)
def test_the_generated_option_lines(native):
    payer = "account" if table.KEYWORDS["account"].is_for(native) else "project"
    assert "|".join(header(make(native, queue="q", **{payer: "a"}))) == HEADERS[native]


@pytest.mark.parametrize("native", SCRIPTED)
def test_without_queue_account_and_walltime_there_are_no_such_lines(native):
    bare = {line for line in HEADERS[native].split("|") if line not in ("-p q", "-q q", "--queue=q")}
    bare -= {"-A a", "-P a", '-P "a"', "--project a", "--bank=a"}
    assert set(header(make(native))) == bare


@pytest.mark.parametrize("native", SCRIPTED)
def test_every_option_line_has_the_mark_and_comes_before_the_first_command(native):
    lines = make(native).job_script().splitlines()
    mark = {"slurm": "#SBATCH", "sge": "#$", "lsf": "#BSUB", "oar": "#OAR", "flux": "# flux:"}.get(native, "#PBS")
    options = lines[2:-1]
    assert lines[:2] == ["#!/usr/bin/env bash", ""]
    assert all(line.startswith(f"{mark} ") for line in options), options


@pytest.mark.parametrize("native", SCRIPTED)
def test_lines_to_skip_are_generated_ones_that_contain_a_text(native):
    first, *others = header(make(native))
    job = make(native, job_directives_skip=[first.split()[-1]], job_extra_directives=[first])
    assert header(job) == [*others, first], "one's own lines are never skipped"


@pytest.mark.parametrize("native", SCRIPTED)
def test_further_lines_come_last_from_a_list_or_a_mapping(native):
    generated = header(make(native))
    assert header(make(native, job_extra_directives=["--one=1", "-x 2"])) == [*generated, "--one=1", "-x 2"]
    assert header(make(native, job_extra_directives={"--qos": "debug", "-x": 2})) == [*generated, "--qos debug", "-x 2"]


LOG_LINES = {
    "slurm": ("-e {}/dask-worker-%J.err", "-o {}/dask-worker-%J.out"),
    "pbs": ("-e {}/", "-o {}/"),
    "moab": ("-e {}/", "-o {}/"),
    "sge": ("-e {}/", "-o {}/"),
    "lsf": ("-e {}/dask-worker-%J.err", "-o {}/dask-worker-%J.out"),
    "oar": ("-O {}/dask-worker-%jobid%.out", "-E {}/dask-worker-%jobid%.err"),
}


@pytest.mark.parametrize("native", LOG_LINES)
def test_a_log_directory_is_made_and_named(native, tmp_path):
    logs = tmp_path / "some" / "logs"
    job = make(native, log_directory=str(logs))
    assert logs.is_dir()
    assert {line.format(logs) for line in LOG_LINES[native]} <= set(header(job))
    script = job_script(job.spec, JobRange(LOGS, 3))
    assert {line.format(logs) for line in LOG_LINES[native]} <= set(header(job, JobRange(LOGS, 3)))
    assert "exec >>" not in script, "the batch system's file has all of it, where the user looks for it"
    assert "/logs/$job.status" in script


@pytest.mark.parametrize("native", LOG_LINES)
def test_without_a_log_directory_the_logs_are_with_the_cluster_or_where_the_system_has_them(native):
    assert {line.format(LOGS) for line in LOG_LINES[native]} <= set(header(make(native), JobRange(LOGS, 3)))
    assert not any(line.split()[0] in ("-e", "-o", "-E", "-O") for line in header(make(native)))


def test_torque_asks_for_nodes_where_pbs_selects_chunks():
    spec = dataclasses.replace(make("pbs").spec, system=registry.find("torque"))
    assert "#PBS -l nodes=1:ppn=4,mem=7630MB" in spec.header()
    assert not spec.arrays(JobRange(LOGS, 3, 10))


def test_slurm_is_asked_for_other_cores_and_memory_than_workers_are_told():
    job = make("slurm", job_cpu=8, job_mem="5000MB")
    assert {"--cpus-per-task=8", "--mem=5000MB"} <= set(header(job))
    assert job.worker_process_memory == "1.86GiB"


def test_grid_engine_s_slots_need_a_parallel_environment():
    assert "-pe smp 4" in header(make("sge", parallel_environment="smp"))
    assert "-l mem_free=8G" in header(make("sge", resource_spec="mem_free=8G"))


# What the script runs.


@pytest.mark.parametrize("native", [*SCRIPTED, "local"])
def test_prologue_worker_and_epilogue_come_in_this_order_and_the_worker_s_status_counts(native):
    job = make(native, job_script_prologue=["module load x", "", "export A='b c'"], job_script_epilogue=["echo done"])
    text = job.job_script()
    assert text.splitlines()[-6:] == [
        "module load x",
        "export A='b c'",
        worker(text),
        "status=$?",
        "echo done",
        "exit $status",
    ]
    assert "exit" not in make(native).job_script()


def test_a_job_of_one_worker_has_its_name_and_no_number_of_workers():
    job = make("slurm", processes=1)
    line = worker(job.job_script())
    assert "--name w-0 " in line
    assert "--nworkers" not in line
    assert job.worker_names == ["w-0"]


def test_arguments_of_the_worker():
    job = make(
        "slurm",
        nanny=False,
        death_timeout=120,
        worker_extra_args=["--preload", "x.py"],
        resources={"GPU": 1, "ssd": 2},
        interface="ib0",
        protocol="tls",
        lifetime_margin=0,
    )
    given = "--no-nanny --death-timeout 120 --preload x.py --resources GPU=1,ssd=2"
    ours = "--no-dashboard --dashboard-address 127.0.0.1:0 --interface ib0 --protocol tls"
    assert worker(job.job_script()).endswith(f"{given} {ours}")


@pytest.mark.parametrize("given", [["--dashboard"], ["--dashboard-address", ":0"], ["--no-dashboard"]])
def test_workers_have_a_dashboard_if_the_user_says_so(given):
    assert worker(make("slurm", worker_extra_args=given).job_script()).count("dashboard") == len(given[:1])


def test_another_worker_command_is_spared_options_that_only_dask_s_own_has():
    text = make("slurm", worker_command="dask_cuda.cli", processes=4).job_script()
    (line,) = [line for line in text.splitlines() if line.startswith("python3")]
    assert line.startswith(f"python3 -m dask_cuda.cli {SCHEDULER} --name w-0 ")
    assert not re.search("nworkers|nanny|lifetime|dashboard", line)


@pytest.mark.parametrize("native", [*SCRIPTED, "local"])
def test_in_a_cluster_a_job_leaves_number_log_and_status(native):
    text = job_script(make(native).spec, JobRange(LOGS, 3))
    restarts = "${SLURM_RESTART_COUNT:-0}" if native == "slurm" else "$(cat /logs/$job.executions 2>/dev/null | wc -l)"
    assert text.splitlines()[-7:] == [
        "job=3",
        f"execution={restarts}",
        "again=${execution#0}",
        '{ echo "$execution $(date +%s) $(hostname)" >>/logs/$job.executions; } 2>/dev/null',
        "[ -w /logs ] && exec >>/logs/$job.log${again:+.$again} 2>&1",
        "trap '{ echo $? >/logs/$job.status${again:+.$again}; } 2>/dev/null' EXIT",
        worker(text),
    ]


@pytest.mark.parametrize("native", ["slurm", "pbs", "sge"])
@pytest.mark.parametrize(("shebang", "shell"), [("#!/bin/csh", "/bin/csh"), ("#!/usr/bin/env tcsh", "/bin/tcsh")])
def test_a_script_of_csh_gets_lines_of_csh(native, shebang, shell):
    job = make(native, shebang=shebang, job_script_prologue=["setenv A b"], job_script_epilogue=["echo x"])
    text = job_script(job.spec, JobRange(LOGS, 3))
    assert ordered(text, "@ number = 3 + 0", "setenv A b", worker(text), "set ended = $status", "echo x", "exit $ended")
    assert "trap" not in text
    assert (f"-S {shell}" in header(job)) == any(line.startswith("-S") for line in header(make(native)))


def test_a_script_of_a_shell_that_is_not_known_gets_no_lines_of_ours():
    job = make("slurm", shebang="#!/usr/bin/fish", job_script_prologue=["set -x A b"])
    text = job_script(job.spec, JobRange(LOGS, 3))
    assert text.splitlines()[-2:] == ["set -x A b", worker(text)]


@pytest.mark.parametrize("shell", ["bash", "sh", "tcsh"])
def test_an_element_of_an_array_leaves_its_status_in_every_shell(shell, tmp_path):
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} is not installed here")
    place = tmp_path / "it's my $HOME"
    place.mkdir()
    python = place / "python"
    python.write_text('#!/bin/sh\nenv >&2\necho "$@"\nexit 3\n')
    python.chmod(0o755)
    # Array, exit status and number are kept, whatever the user's lines do to a shell of sh.
    prologue = ["setenv A b"] if shell == "tcsh" else ["trap 'echo bye' EXIT", "set -eu", "A=b; export A"]
    job = make("slurm", shebang=f"#!{path}", python=str(python), job_script_prologue=prologue)
    spec = dataclasses.replace(job.spec, name="w-{job}")
    script = place / "job.sh"
    script.write_text(job_script(spec, JobRange(place, 3, 10)))
    for restarts in (0, 1):
        environment = {"PATH": "/usr/bin:/bin", "SLURM_ARRAY_TASK_ID": "2", "SLURM_RESTART_COUNT": str(restarts)}
        command = [path, *(["-f"] if shell == "tcsh" else []), str(script)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 3, done
        log = place / f"4.log{'.1' if restarts else ''}"
        text = done.stdout + done.stderr if shell == "tcsh" else log.read_text()
        assert "--name w-4 " in text
        assert "A=b\n" in text
        assert (place / f"4.status{'.1' if restarts else ''}").read_text() == "3\n"
    assert [line.split()[0] for line in (place / "4.executions").read_text().splitlines()] == ["0", "1"]


def test_paths_of_ours_are_one_word_each(tmp_path, monkeypatch):
    """What the user writes for the shell is left to it."""
    place = tmp_path / "it's my $HOME"
    place.mkdir()
    (place / "python").touch()
    monkeypatch.setattr(sys, "executable", str(place / "python"))
    files = {name: str(place / name) for name in ("tls_ca_file", "tls_worker_cert", "tls_worker_key")}
    job = make("slurm", python=None, security=Security(require_encryption=True, **files), worker_extra_args=["$A b"])
    words = shlex.split(worker_command(job.spec))
    assert words[:3] == [str(place / "python"), "-m", "mpidask.jobqueue.worker"]
    given = dict(itertools.pairwise(words))
    assert [given[f"--tls-{name}"] for name in ("ca-file", "cert", "key")] == list(files.values())
    assert given["$A"] == "b"
    assert make("slurm", python="$ENV/bin/python").spec.keywords["python"] == "$ENV/bin/python"


@pytest.mark.parametrize(
    ("native", "line"),
    [
        ("slurm", "--array=1-3"),
        ("slurm", "hetjob"),
        ("pbs", "-J 1-3"),
        ("pbs", "-W block=true"),
        ("lsf", "-K"),
        ("sge", "-t 1-3"),
    ],
)
def test_lines_that_make_several_jobs_of_one_are_refused(native, line):
    with pytest.raises(ArgumentError, match="cannot be taken"):
        make(native, job_extra_directives=[line])


def test_a_mark_that_is_pasted_along_is_understood():
    assert header(make("slurm", job_extra_directives=["#SBATCH --qos=debug"]))[-1] == "--qos=debug"
    with pytest.raises(ArgumentError, match="no option"):
        make("slurm", job_extra_directives=["##SBATCH --qos=debug"])


#: system -> the option line of a job array, and what its elements count with
ARRAYS = {
    "slurm": ("--array=1-10", "$SLURM_ARRAY_TASK_ID"),
    "pbs": ("-J 1-10", "$PBS_ARRAY_INDEX"),
    "sge": ("-t 1-10", "$SGE_TASK_ID"),
    "lsf": ("-J dask-worker[1-10]", "$LSB_JOBINDEX"),
}


@pytest.mark.parametrize("native", ARRAYS)
def test_a_job_array_s_jobs_know_their_numbers(native):
    option, index = ARRAYS[native]
    job = make(native)
    spec = dataclasses.replace(job.spec, name="w-{job}")
    text = job_script(spec, JobRange(LOGS, 3, 10))
    assert option in header(job, JobRange(LOGS, 3, 10))
    assert option not in header(job, JobRange(LOGS, 3))
    assert f"\njob=$((2 + {index}))\n" in text
    assert " --name w-$job " in worker(text)
    assert job.spec.arrays(JobRange(LOGS, 3, 10))


def test_logs_of_a_job_array_s_elements_are_told_apart():
    assert "-o /logs/dask-worker-%A_%a.out" in header(make("slurm"), JobRange(LOGS, 3, 10))
    assert "-o /logs/dask-worker-%J.%I.out" in header(make("lsf"), JobRange(LOGS, 3, 10))


@pytest.mark.parametrize("native", [native for native in KINDS if native not in ARRAYS])
def test_jobs_come_one_by_one_where_there_are_no_arrays(native):
    assert not make(native).spec.arrays(JobRange(LOGS, 3, 10))


@pytest.mark.parametrize(("native", "skipped"), [("pbs", "-J 1-"), ("sge", "-t 1-")])
def test_jobs_come_one_by_one_where_the_array_s_line_is_skipped(native, skipped):
    assert not make(native, job_directives_skip=[skipped]).spec.arrays(JobRange(LOGS, 3, 10))


# Several nodes.


def test_under_slurm_srun_starts_the_ranks_on_every_node():
    job = make("slurm", nodes=4, ranks_per_node=2, processes=4)
    assert "-N 4 --ntasks-per-node=2" in header(job)
    assert "--cpus-per-task=2" in header(job)
    assert "-n 1" not in header(job)
    line = worker(job.job_script())
    assert line.startswith(
        "srun --export=ALL --ntasks=8 --ntasks-per-node=2 --cpus-per-task=2 bash -c 'exec python3 -m "
    )
    assert "${SLURM_PROCID:-0}" in line
    assert " --nthreads 1 --memory-limit 1.86GiB --nworkers 2 " in line
    assert (job.worker_processes, job.worker_cores, job.worker_memory) == (16, 16, 32 * 10**9)


#: system -> an option line that asks for four nodes of four cores, two ranks on each, and how the launcher's line begins
SEVERAL = {
    "pbs": ("-l select=4:ncpus=4:mpiprocs=2:mem=7630MB", "mpiexec -n 8 bash -c "),
    "lsf": ('-R "span[ptile=4]"', "mpiexec -n 8 bash -c "),
    "oar": ("-l /nodes=4/core=4,walltime=00:30:00", "mpiexec -n 8 bash -c "),
    "flux": ("--nslots=8", "flux run --nodes=4 --ntasks=8 --cores-per-task=2 bash -c "),
    "sge": ("-pe mpi 16", "mpiexec -n 8 bash -c "),
}


@pytest.mark.parametrize("native", SEVERAL)
def test_several_nodes_elsewhere(native):
    option, start = SEVERAL[native]
    further = {"parallel_environment": "mpi"} if native == "sge" else {}
    job = make(native, nodes=4, ranks_per_node=2, processes=4, **further)
    assert option in header(job)
    assert worker(job.job_script()).startswith(start)


def test_the_user_s_own_launcher_starts_the_ranks():
    job = make("pbs", nodes=2, launcher="openmpi --mca btl tcp,self")
    assert worker(job.job_script()).startswith("mpiexec -n 2 --map-by ppr:1:node:oversubscribe --bind-to none ")
    assert " --mca btl tcp,self bash -c " in worker(job.job_script())
    assert worker(make("pbs", nodes=2, launcher="ours -n {nodes}").job_script()).startswith("ours -n 2 bash -c ")


def test_ranks_of_a_job_array_know_the_job_s_number_on_every_node():
    spec = dataclasses.replace(make("slurm", nodes=2).spec, name="w-{job}")
    text = job_script(spec, JobRange(LOGS, 3, 10))
    assert ordered(text, "job=$((2 + $SLURM_ARRAY_TASK_ID))", "export job", worker(text))
    assert " --name w-$job-${" in worker(text), "filled in by the shell that each rank is"


def test_processes_that_cannot_be_divided_among_ranks_are_refused():
    with pytest.raises(ArgumentError, match="3 processes cannot be divided among 2 ranks") as caught:
        make("slurm", nodes=4, ranks_per_node=2, processes=3).job_script()
    assert isinstance(caught.value, ValueError)
    assert "multiple of ranks_per_node" in caught.value.remedy


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"processes": 1}, ["w-0"]),
        ({"processes": 2}, ["w-0-0", "w-0-1"]),
        ({"processes": 1, "nodes": 2}, ["w-0-0", "w-0-1"]),
        ({"processes": 4, "nodes": 1, "ranks_per_node": 2}, ["w-0-0-0", "w-0-0-1", "w-0-1-0", "w-0-1-1"]),
    ],
)
def test_each_worker_has_a_name(given, names):
    job = make("slurm", **given)
    assert job.worker_names == names
    assert len(names) == job.worker_processes


# Lifetimes.

HOUR = 3600
#: system -> walltime -> seconds. https://slurm.schedmd.com/sbatch.html#OPT_time, and so on
WALLTIMES = {
    "slurm": {"30": 1800, "10:00": 600, "1:00:00": HOUR, "1-00:00:00": 24 * HOUR, "1-12": 36 * HOUR, "1-12:30": 131400},
    "pbs": {"30": 30, "10:00": 600, "1:00:00": HOUR, "1800": 1800},
    "torque": {"30": 30, "10:00": 600, "1:00:00": HOUR},
    "moab": {"30": 30, "10:00": 600, "1:00:00": HOUR},
    "sge": {"30": 30, "1:00:00": HOUR, "86400": 24 * HOUR},
    "lsf": {"30": 1800, "10:00": 10 * HOUR},
    "oar": {"2": 2 * HOUR, "10:00": 10 * HOUR, "1:00:00": HOUR},
    "flux": {"30": 30, "30m": 1800, "1.5h": 1.5 * HOUR, "2d": 48 * HOUR, "90s": 90},
    "htcondor": {"30m": 1800},
}


@pytest.mark.parametrize("native", WALLTIMES)
def test_walltimes_mean_what_they_mean_to_each_system(native):
    system = registry.find(native)
    assert {text: walltime_seconds(system, text) for text in WALLTIMES[native]} == WALLTIMES[native]


@pytest.mark.parametrize("text", [None, "", "infinite", "UNLIMITED", "1:2:3:4", "-5", "soon"])
def test_words_that_only_the_batch_system_knows_are_no_time(text):
    assert walltime_seconds(registry.find("slurm"), text) is None
    assert "--lifetime" not in make("slurm", walltime=text or "unlimited").job_script()


def lifetime(job):
    """Return lifetime and stagger, in s; None if the workers are given none."""
    found = re.search(r" --lifetime (\d+)s --lifetime-stagger (\d+)s$", worker(job.job_script()))
    return None if found is None else (int(found[1]), int(found[2]))


@pytest.mark.parametrize(
    ("native", "walltime"),
    [(native, text) for native in WALLTIMES if native in KINDS and native != "htcondor" for text in WALLTIMES[native]],
)
def test_workers_end_before_the_walltime_even_at_the_latest_stagger(native, walltime):
    total = WALLTIMES[native][walltime]
    life, stagger = lifetime(make(native, walltime=walltime))
    assert 0 < life - stagger < life + stagger < total
    assert total - life <= max(0.15 * total, 1), "and not much earlier"
    assert total - life <= 400


def test_the_margin_is_a_tenth_of_the_walltime_and_at_most_five_minutes():
    assert lifetime(make("slurm", walltime="00:30:00")) == (1575, 45)
    assert lifetime(make("slurm", walltime="1-00:00:00")) == (86025, 75)


def test_the_margin_can_be_given():
    assert lifetime(make("slurm", walltime="01:00:00", lifetime_margin=600)) == (2850, 150)
    assert lifetime(make("slurm", walltime="00:01:00", lifetime_margin=60)) is None, "nothing would be left"


@pytest.mark.parametrize(
    "given",
    [
        {"worker_extra_args": ["--lifetime", "25m", "--lifetime-stagger", "4m"]},
        {"lifetime_margin": 0},
        {"worker_command": "dask_cuda.cli"},
    ],
)
def test_the_user_s_lifetime_counts(given):
    text = make("slurm", **given).job_script()
    assert text.count("--lifetime ") == ("worker_extra_args" in given)


def test_without_a_walltime_workers_live_on():
    assert "lifetime" not in make("local").job_script()
    assert "lifetime" not in make("htcondor").job_script()


# LSF.


def memory(job):
    (line,) = [line for line in header(job) if line.startswith("-M ")]
    return line


@pytest.mark.parametrize(("unit", "amount"), [("kb", 8000000), ("MB", 8000), ("gb", 8), ("tb", 1)])
def test_lsf_is_told_the_memory_in_the_site_s_unit(unit, amount, tmp_path, monkeypatch):
    assert memory(make("lsf", lsf_units=unit)) == f"-M {amount}"
    (tmp_path / "lsf.conf").write_text(
        f"# LSF_UNIT_FOR_LIMITS=EB\nLSF_CONFDIR=/x\nLSF_UNIT_FOR_LIMITS={unit.upper()}\n"
    )
    monkeypatch.setenv("LSF_ENVDIR", str(tmp_path))
    assert memory(make("lsf")) == f"-M {amount}"
    assert memory(make("lsf", lsf_units="mb")) == "-M 8000"


def test_lsf_counts_in_kilobytes_if_nothing_else_is_said(tmp_path, monkeypatch):
    assert memory(make("lsf")) == "-M 8000000"
    monkeypatch.setenv("LSF_ENVDIR", str(tmp_path))
    assert memory(make("lsf")) == "-M 8000000", "there is no lsf.conf"
    (tmp_path / "lsf.conf").write_text("LSF_CONFDIR=/x\n")
    assert memory(make("lsf")) == "-M 8000000", "lsf.conf does not say"


def test_lsf_is_asked_for_other_cores_and_memory_than_workers_are_told():
    assert {"-n 24", "-M 9000000"} <= set(header(make("lsf", ncpus=24, mem=9 * 10**9)))
    assert memory(make("lsf", memory="1234567891", lsf_units="mb")) == "-M 1235", "rounded up"


def test_one_core_needs_not_be_kept_together_under_lsf():
    assert not any(line.startswith("-R") for line in header(make("lsf", cores=1)))


def test_bsub_reads_the_script_or_is_given_its_path():
    words, script = ("env", "LSB_NTRIES=2", "bsub"), Path("/d/job.sh")
    assert make("lsf").submit_words(words, script) == words
    assert make("lsf", use_stdin=False).submit_words(words, script) == (*words, "/d/job.sh")


# OAR.


def test_oar_s_memory_is_a_property_for_each_core():
    lines = header(make("oar", memory_per_core_property_name="mem_core"))
    assert lines[-1] == "-p mem_core>=1908"


@pytest.mark.parametrize("further", [["-t besteffort", "-p gpu>0", "-p disk>9"], {"-p": "disk>9"}])
def test_oar_reads_one_line_of_properties_so_that_the_last_has_all(further):
    lines = header(make("oar", memory_per_core_property_name="mem_core", job_extra_directives=further))
    assert lines[-1] == "-p 'disk>9 AND mem_core>=1908'"


def test_oar_without_a_property_for_memory_warns():
    with pytest.warns(UserWarning, match="memory_per_core_property_name"):
        job = make("oar", memory_per_core_property_name=None)
    assert not any(line.startswith("-p") for line in header(job))


# HTCondor.


def attributes(text):
    return dict(line.split(" = ", 1) for line in text.splitlines() if " = " in line)


def arguments(text):
    """Return what HTCondor makes of the line Arguments: its new syntax, which condor_submit(1) describes."""
    (line,) = [line for line in text.splitlines() if line.startswith("Arguments = ")]
    assert line.startswith('Arguments = "') and line.endswith('"')
    inner = line.removeprefix('Arguments = "').removesuffix('"')
    assert '"' not in inner.replace('""', "")
    words = re.findall(r"'((?:[^']|'')*)'|([^\s']+)", inner.replace('""', '"'))
    return [quoted.replace("''", "'") or plain for quoted, plain in words]


def test_htcondor_s_submit_description():
    text = make("htcondor", job_extra_directives={"Requirements": 'Arch == "X86_64"'}).job_script()
    assert text.startswith("#!/usr/bin/env condor_submit\n\n")
    found = attributes(text)
    assert found["Executable"] == "/bin/sh"
    assert found["MY.DaskWorkerCores"] == "4"
    assert found["MY.DaskWorkerMemory"] == "8000000000"
    assert found["MY.DaskWorkerDisk"] == "1000000000"
    assert found["RequestMemory"] == "floor(MY.DaskWorkerMemory / 1048576)"
    assert found["Requirements"] == 'Arch == "X86_64"'
    assert found["batch_name"] == "w-0"
    assert "Output" not in found


def test_quotes_in_the_prologue_reach_the_shell_that_htcondor_starts():
    prologue = ["export A='b c'", 'echo "it\'s $HOME"']
    text = make("htcondor", job_script_prologue=prologue, job_script_epilogue=["echo end"]).job_script()
    option, command = arguments(text)
    assert option == "-c"
    first, second, third, *rest = command.split("; ")
    assert [first, second] == prologue
    assert shlex.split(third)[:5] == ["python3", "-m", "distributed.cli.dask_worker", SCHEDULER, "--name"]
    assert rest == ["status=$?", "echo end", "exit $status"]


def test_an_htcondor_job_of_a_cluster_leaves_its_status():
    job = make("htcondor")
    _, command = arguments(job.text(job.spec, JobRange(LOGS, 3)))
    assert command.startswith("job=3; execution=")
    assert "; trap '{ echo $? >/logs/$job.status${again:+.$again}; }" in command


def test_htcondor_s_logs_are_where_the_user_wants_them(tmp_path):
    found = attributes(make("htcondor", log_directory=str(tmp_path)).job_script())
    assert found["LogDirectory"] == str(tmp_path)
    assert found["Output"] == "$(LogDirectory)/worker-$F(MY.JobId).out"
    assert found["Stream_Output"] == "True"


def test_attributes_to_skip_and_further_words_for_htcondor_s_commands():
    job = make(
        "htcondor",
        job_directives_skip=["RequestDisk"],
        submit_command_extra=["-name", "schedd1"],
        cancel_command_extra=["-forcex"],
    )
    assert "RequestDisk" not in attributes(job.job_script())
    assert (job.submit_command, job.cancel_command) == ("condor_submit -name schedd1", "condor_rm -forcex")


def test_htcondor_needs_to_know_the_disk():
    with pytest.raises(ArgumentError, match="disk") as caught:
        make("htcondor", disk=None)
    assert "disk='1 GB'" in caught.value.remedy
