"""What is typed: `mpidask submit`, `script` and the others, before any batch system is asked."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mpidask.batch import registry
from mpidask.batch.job import BatchJob, Resources
from mpidask.batch.scripts.submit_command import choices_of_directives, job_script, submit_description
from mpidask.errors import UsageError

pytestmark = pytest.mark.one_mpi

JOBS = Path(__file__).parents[2] / "jobs"


@pytest.fixture
def mpidask(tmp_path):
    """Return a function that runs the command."""
    (tmp_path / "script.py").write_text("")

    def run(*words, **environ):
        return subprocess.run(
            [sys.executable, "-m", "mpidask.cli", *words],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
            env={
                **os.environ,
                "XDG_STATE_HOME": str(tmp_path / "state"),
                "DASK_CONFIG": str(tmp_path / "config"),
                **environ,
            },
            check=False,
        )

    return run


def test_options_go_where_they_belong(mpidask):
    words = ["-N", "2", "--nthreads=2", "--ranks-per-node=4", "--no-nanny", "--memory-limit", "1 GiB", "-p", "q"]
    text = mpidask("script", "--system", "slurm", "--python", "python", *words, "--", "script.py", "-N", "9").stdout
    assert "python -m mpidask --nthreads=2 --no-nanny --memory-limit '1 GiB' -- script.py -N 9 &" in text, text
    assert "#SBATCH -N 2\n#SBATCH --ntasks-per-node=4\n" in text, text
    assert "#SBATCH -p q\n" in text, text
    for option in ("-t ", "-A ", "--mem"):
        assert f"#SBATCH {option}" not in text, "what is not given is left to the site"


#: Words, environment -> what the job's command gets.
SEVERAL = {
    "nothing said": ([], {}, "--workers-per-rank auto "),
    "several nodes": (["-N", "2", "--ranks-per-node=1"], {}, "--workers-per-rank auto "),
    "options of the run": (["--exclusive-workers", "--"], {}, "--exclusive-workers --workers-per-rank auto -- "),
    "a number": (["--workers-per-rank", "3"], {}, "--workers-per-rank 3 "),
    "one": (["--workers-per-rank=1"], {}, "--workers-per-rank=1 "),
    "configured": ([], {"DASK_MPIDASK__WORKERS_PER_RANK": "3"}, "--workers-per-rank 3 "),
    "several ranks": (["--ranks-per-node", "2"], {}, ""),
    "several ranks, configured": ([], {"DASK_MPIDASK__BATCH__RANKS_PER_NODE": "2"}, ""),
    "several ranks and workers": (
        ["--ranks-per-node=2", "--workers-per-rank", "auto"],
        {},
        "--workers-per-rank auto ",
    ),
    "inside the rank": (["--no-nanny"], {}, "--no-nanny "),
    "inside the rank, configured": ([], {"DASK_MPIDASK__NANNY": "False"}, ""),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_a_rank_that_has_its_node_to_itself_hosts_several_workers(mpidask, name):
    words, environment, command = SEVERAL[name]
    done = mpidask("script", "--system=slurm", "--python", "python", *words, "script.py", **environment)
    assert f"python -m mpidask {command}script.py" in done.stdout, done


@pytest.mark.parametrize("name", ["slurm", "pbs", "torque", "lsf", "moab"])
def test_the_example_is_what_is_printed(mpidask, tmp_path, name):
    (tmp_path / "flights.py").write_text("")
    shape = ["-N", "2", "--cores-per-rank", "8", "--mem", "16GiB", "-t", "1:00:00", "-q", "normal", "-A", "project"]
    words = ["--system", name, "--python", "python", *shape, "--prologue", "module load mpi", "flights.py"]
    assert mpidask("script", *words).stdout == (JOBS / name / "mpi.sh").read_text()


def test_what_is_asked_for_is_told(mpidask, tmp_path):
    system = """
mpidask: {batch: {system: ours, systems: {ours: {like: slurm, submit: "echo 4711", detect: ""}}}}
"""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "mpidask.yaml").write_text(system)
    for words, shape in {
        ("-N", "4", "--cores-per-rank", "32"): "4 nodes x 1 rank x 32 cores",
        ("--ranks-per-node", "2"): "1 node x 2 ranks x 1 core",
    }.items():
        done = mpidask("submit", *words, "script.py")
        assert f"job 4711 is submitted to Slurm: {shape}; left to the site: walltime, queue, account\n" in done.stderr
    done = mpidask("submit", "--directive=-p debug", "--directive", "#SBATCH --account=abc", "script.py")
    assert (
        "1 core, queue debug (by a directive), account abc (by a directive); left to the site: walltime\n"
        in done.stderr
    )
    done = mpidask("submit", "--wait", "-c", "", DASK_MPIDASK__BATCH__SYSTEM="local")
    assert "is submitted to this machine: 1 node x 1 rank\n" in done.stderr, "it may use all cores that there are"


def test_directives_and_what_stands_behind_dashes_go_untouched(mpidask):
    directives = ["--directive=--exclusive", "--directive", "-C gpu&nvme"]
    text = mpidask("script", "--system", "slurm", *directives, "-m", "package.module", "--", "-x").stdout
    assert "#SBATCH --exclusive\n#SBATCH -C gpu&nvme\n" in text, text
    assert "-m mpidask --workers-per-rank auto -m package.module -- -x &" in text, text


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("pbs", "#PBS -l select=2:ncpus=4:mpiprocs=1:mem=8192mb:cpu_type=rome:ib"),
        ("torque", "#PBS -l nodes=2:ppn=4:cpu_type=rome:ib"),
        ("moab", "#PBS -l nodes=2:ppn=4:cpu_type=rome:ib"),
    ],
)
def test_a_directive_may_add_to_what_each_node_has_to_be(name, line):
    resources = Resources(nodes=2, cores_per_rank=4, memory_per_node=8 * 2**30)
    job = BatchJob(command=("true",), resources=resources, directives=(":cpu_type=rome", "-m n", ":ib"))
    lines = job_script(registry.find(name), job).splitlines()
    assert line in lines and "#PBS -m n" in lines
    assert not any(each.startswith("#PBS :") for each in lines)


SHAPES = [
    ("slurm", "--array=1-3", "once for each"),
    ("slurm", "--arr 1-3", "once for each"),
    ("slurm", "-a\t1-3", "once for each"),
    ("slurm", "--out=x", "mpidask logs"),
    ("slurm", "--job=x", "--job-name"),
    ("pbs", "-lselect=2", "--nodes"),
    ("torque", "-lwalltime=1:00:00", "--walltime"),
    ("torque", "-l procs=4", "--nodes"),
    ("moab", "-t name[1-3]%2", "once for each"),
    ("flux", "--cc 1-3", "once for each"),
    ("slurm", "-a 1-3", "once for each"),
    ("slurm", "#SBATCH --array=1-3", "once for each"),
    ("slurm", "hetjob", "nodes of one kind"),
    ("slurm", "--ntasks=4", "--ranks-per-node"),
    ("slurm", "--nodes=2", "--nodes"),
    ("slurm", "-t 10", "--walltime"),
    ("slurm", "-J name", "--job-name"),
    ("slurm", "--output=x", "mpidask logs"),
    ("slurm", "--chdir=/tmp", "--prologue"),
    ("slurm", "##SBATCH --qos=x", "without '#'"),
    ("slurm", "--qos=x\\nrm -r x", "one option"),
    ("slurm", "--wait", "--wait"),
    ("pbs", "-W block=true", "--wait"),
    ("pbs", "-J 1-3", "once for each"),
    ("pbs", "-l select=2", "--nodes"),
    ("pbs", "-l walltime=1:00:00", "--walltime"),
    ("pbs", ":cpu_type=rome:ncpus=4", "--cores-per-rank"),
    ("pbs", ":cpu_type=rome+2:x", ":cpu_type=rome"),
    ("torque", ":ppn=4", "--cores-per-rank"),
    ("lsf", ":cpu_type=rome", "as the batch system has it"),
    ("torque", "-t 1-3", "once for each"),
    ("torque", "-l nodes=2:ppn=4", "--nodes"),
    ("lsf", "-K", "--wait"),
    ("lsf", "-J x[1-3]", "once for each"),
    ("sge", "-sync y", "--wait"),
    ("oar", "--array 3", "once for each"),
    ("htcondor", "queue 3", "once for each"),
]


@pytest.mark.parametrize(("name", "directive", "remedy"), SHAPES)
def test_directives_that_change_the_jobs_shape_are_refused_with_what_to_say_instead(name, directive, remedy):
    job = BatchJob(command=("true",), directives=(directive.replace("\\n", "\n"),))
    with pytest.raises(UsageError) as caught:
        job_script(registry.find(name), job) if name != "htcondor" else submit_description(registry.find(name), job)
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "directives", "expected"),
    [
        ("slurm", ["-pdebug", "-A abc --qos=x"], {"queue": "debug", "account": "abc"}),
        ("slurm", ["--comment='-p debug'", "--nodelist=n-p"], {}),
        ("slurm", ["-p a", "--partition=b"], {"queue": "b"}),
        ("slurm", ["--part=debug", "--parsable --acco abc"], {"queue": "debug", "account": "abc"}),
        ("pbs", ["-q debug", "-P abc"], {"queue": "debug", "account": "abc"}),
        ("moab", ["-q debug", "-A abc"], {"queue": "debug", "account": "abc"}),
        ("torque", ["-l qos=x", "-q debug"], {"queue": "debug"}),
        ("sge", ["-q all.q@n1", "-P abc"], {"queue": "all.q@n1", "account": "abc"}),
        ("lsf", ['-q "debug"', "-P abc"], {"queue": "debug", "account": "abc"}),
        ("oar", ["--project abc", "-q debug"], {"queue": "debug", "account": "abc"}),
        ("flux", ["--queue=debug", "-B abc"], {"queue": "debug", "account": "abc"}),
        ("htcondor", ["Accounting_Group = abc"], {"account": "abc"}),
    ],
)
def test_what_directives_choose_is_known(name, directives, expected):
    assert choices_of_directives(registry.find(name), directives) == expected


@pytest.mark.parametrize(
    ("name", "given", "taken"),
    [
        ("slurm", "#SBATCH --qos=debug", "--qos=debug"),
        ("slurm", "#SBATCH -C gpu", "-C gpu"),
        ("slurm", "--exclusive", "--exclusive"),
        ("slurm", "--mem-per-cpu=2G", "--mem-per-cpu=2G"),
        ("slurm", "--nodelist=n1", "--nodelist=n1"),
        ("slurm", "--time-min=10", "--time-min=10"),
        ("slurm", "--oversubscribe", "--oversubscribe"),
        ("slurm", "--exclude=n1", "--exclude=n1"),
        ("pbs", "-l place=excl", "-l place=excl"),
        ("pbs", "-W group_list=x", "-W group_list=x"),
        ("lsf", '-R "select[type==any]"', '-R "select[type==any]"'),
        ("oar", "-t besteffort", "-t besteffort"),
        ("sge", "-l h_vmem=4G", "-l h_vmem=4G"),
    ],
)
def test_other_directives_are_taken(name, given, taken):
    system = registry.find(name)
    lines = job_script(system, BatchJob(command=("true",), directives=(given,))).splitlines()
    assert f"{system.directive} {taken}" in lines


@pytest.mark.parametrize(("name", "longest"), [("torque", 15), ("pbs", 15), ("moab", 15), ("slurm", 99)])
def test_names_are_no_longer_than_the_system_has_them(name, longest):
    text = job_script(registry.find(name), BatchJob(command=("true",), name="analyse_precipitation_extremes"))
    assert "analyse_precipitation_extremes"[:longest] in re.split(r"\s", text)


def test_what_stands_after_dashes_is_the_scripts(mpidask, tmp_path):
    (tmp_path / "script.py").write_text("import sys; print(*range(9), sys.argv[1:], sep='\\n')")
    words = ("submit", "--launcher", "env", "--wait", "--", "script.py", "--follow")
    done = mpidask(*words, DASK_MPIDASK__BATCH__SYSTEM="local")
    assert done.returncode == 0, done
    log = mpidask("logs").stdout
    assert "\n8\n['--follow']\n" in log
    assert mpidask("logs", "--tail", "2").stdout == "".join(log.splitlines(keepends=True)[-2:])


def test_where_the_run_spills_is_shown_in_a_container(mpidask):
    words = ["--container", "docker://dask", "--container-runtime", "apptainer", "--local-directory", "/nvme/x"]
    done = mpidask("script", "--system", "slurm", *words, "script.py")
    assert " --bind=/nvme/x:/nvme/x " in done.stdout, done


def test_a_dry_run_leaves_nothing(mpidask, tmp_path):
    done = mpidask("submit", "--dry-run", "--system", "slurm", "script.py")
    assert done.returncode == 0, done
    assert "#SBATCH -J script\n" in done.stdout, done
    assert not (tmp_path / "state").exists()


def test_a_login_node_needs_no_mpi_and_no_servers(mpidask, tmp_path):
    code = (
        "import sys; from mpidask.cli import main; sys.argv[1:] = ['script', '--system', 'slurm', 'script.py']\n"
        "try:\n    main()\nfinally:\n    print(sorted({'mpi4py', 'distributed'} & {*sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False
    )
    assert done.stdout.endswith("\n[]\n"), done


def test_commands_that_do_not_answer_are_no_reason_to_compute_here(mpidask, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sinfo").write_text("#!/bin/sh\necho 'Unable to contact slurm controller' >&2\nexit 1\n")
    (tmp_path / "bin" / "sinfo").chmod(0o755)
    done = mpidask("submit", "script.py", PATH=str(tmp_path / "bin"))
    assert done.returncode == 69, done
    assert "the commands of Slurm are here, but do not answer" in done.stderr, done
    assert "--system local" in done.stderr, done


def test_the_template_has_all_keys(mpidask):
    import yaml

    text = mpidask("config").stdout
    content = yaml.safe_load("\n".join(line.removeprefix("# ") for line in text.splitlines()[1:]))
    assert content["mpidask"]["batch"]["requeue-limit"] == 10
    assert content["mpidask"]["nanny"] is True
