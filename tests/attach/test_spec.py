"""A job of scheduler and workers: from options to what is submitted."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from mpidask import run_directory
from mpidask.attach import spec
from mpidask.batch.binds import Bind
from mpidask.batch.commands.command import Command
from mpidask.batch.records.record import Record
from mpidask.batch.settings import JobOptions
from mpidask.cli import command_line, ranks
from mpidask.errors import ArgumentError, UsageError

pytestmark = pytest.mark.one_mpi


@pytest.fixture
def mpidask(tmp_path):
    """Return a function that runs the command."""

    def run(*arguments, **environ):
        surroundings = {"XDG_STATE_HOME": str(tmp_path / "state"), "DASK_CONFIG": str(tmp_path / "config")}
        return subprocess.run(
            [sys.executable, "-m", "mpidask.cli", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
            env={**os.environ, "DASK_MPIDASK__BATCH__SYSTEM": "local", **surroundings, **environ},
            check=False,
        )

    return run


GIVEN = {
    "nthreads": 2,
    "memory_limit": "1 GiB",
    "nanny": False,
    "inclusive_workers": False,
    "worker_options": {"lifetime": "1 h"},
    "idle_timeout": "5 min",
    "interface": None,
}


def test_options_of_a_run_arrive_as_they_were_given():
    job = spec.describe(JobOptions(nodes=4), GIVEN)
    assert job.command[:4] == (job.python, "-m", "mpidask.cli", "serve")
    read = command_line.read(ranks.serve_command(), job.command[4:])
    given = {name: value for name, value in read.items() if value not in (None, ())}
    assert given == {name: value for name, value in GIVEN.items() if value is not None}


def test_where_the_run_spills_is_shown_in_a_container():
    options = JobOptions(container="docker://dask", container_runtime="apptainer")
    assert spec.describe(options, {"local_directory": "/nvme/x"}).container.spill == Bind.of("/nvme/x")


def test_a_job_that_nobody_looks_at_ends_by_itself():
    assert "--idle-timeout 1 h" in " ".join(spec.describe(JobOptions(), {}).command)
    assert spec.idle_timeout({}) == "1 h"
    assert spec.idle_timeout({"idle_timeout": "0"}) is None
    assert "--idle-timeout 0" in " ".join(spec.describe(JobOptions(), {"idle_timeout": "0"}).command)
    joining = {"scheduler": False, "scheduler_file": "cluster.json"}
    command = " ".join(spec.describe(JobOptions(), joining).command)
    assert "serve --no-scheduler --scheduler-file cluster.json" in command
    assert "--idle-timeout" not in command, "workers end with their scheduler"


def test_a_rank_that_has_its_node_to_itself_hosts_several_workers():
    for nodes in (1, 2):
        command = " ".join(spec.describe(JobOptions(nodes=nodes), {}).command)
        assert command.endswith("serve --workers-per-rank auto --idle-timeout 1 h"), "all ranks host workers"
    for options, given in (
        (JobOptions(nodes=2, ranks_per_node=2), {}),
        (JobOptions(nodes=2), {"nanny": False}),
    ):
        assert "--workers-per-rank" not in spec.describe(options, given).command
    command = " ".join(spec.describe(JobOptions(nodes=2), {"workers_per_rank": 4}).command)
    assert command.endswith("serve --workers-per-rank 4 --idle-timeout 1 h")


@pytest.mark.parametrize("given", [{"nanny": False}, {"workers_per_rank": 1}, {"inclusive_workers": False}])
def test_a_single_rank_hosts_scheduler_and_workers(given):
    """Whatever is given: there is no other."""
    assert "--inclusive-workers" in spec.describe(JobOptions(), given).command
    assert "--inclusive-workers" not in spec.describe(JobOptions(nodes=2), given).command


def test_keywords_are_those_of_job_and_run():
    options, run = spec.divided({"nodes": 4, "walltime": "2 h", "nthreads": 2, "directive": ["--exclusive"]})
    assert (options.nodes, options.walltime, options.directive) == (4, "2 h", ("--exclusive",))
    assert run == {"nthreads": 2}
    assert spec.describe(options, run).walltime == timedelta(hours=2)
    with pytest.raises(ArgumentError, match="unknown keyword: node") as refused:
        spec.divided({"node": 4})
    assert "did you mean nodes?" in refused.value.remedy
    for name in ("scheduler", "scheduler_address", "client_rank"):
        with pytest.raises(ArgumentError, match=name):
            spec.divided({name: None})
    with pytest.raises(UsageError, match="nodes is '4'"):
        spec.divided({"nodes": "4"})


def a_record(directory, *command):
    return Record(
        directory=Path(directory),
        system="local",
        job="x",
        origin="/origin",
        words=command,
        nodes=1,
        ranks=1,
        walltime=None,
        requeue=0,
        command=Command(argv=("true",)),
    )


def test_which_jobs_serve_and_where_they_say_so():
    serving = a_record("/run", "python", "-m", "mpidask.cli", "serve", "--nthreads", "1")
    assert spec.serves(serving)
    assert spec.file_of(serving) == f"/run/{run_directory.SCHEDULER}"
    elsewhere = a_record("/run", "python", "-m", "mpidask.cli", "serve", "--scheduler-file", "here.json")
    assert spec.file_of(elsewhere) == "/origin/here.json"
    for other in (
        ("python", "-m", "mpidask", "serve"),
        ("python", "-m", "mpidask.cli", "serve", "--no-scheduler", "--scheduler-file", "f"),
    ):
        assert not spec.serves(a_record("/run", *other))


def test_a_dry_run_shows_the_script_and_leaves_nothing(mpidask, tmp_path):
    words = ["--system", "slurm", "--python", "python", "-N", "8", "--nthreads", "2", "--no-nanny"]
    done = mpidask("start", "--dry-run", *words)
    assert "#SBATCH -N 8\n" in done.stdout, done
    assert "python -m mpidask.cli serve --nthreads 2 --no-nanny --idle-timeout '1 h'" in done.stdout, done
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("words", [["start", "--dry-run", "--system", "slurm"], ["stop", "1"], ["dashboard", "1"]])
def test_a_login_node_needs_no_mpi(words, tmp_path):
    code = (
        f"import sys; from mpidask.cli import main; sys.argv[1:] = {words}\n"
        "try:\n    main()\nfinally:\n    print(sorted({'mpi4py', 'distributed'} & {*sys.modules}))"
    )
    environ = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, env=environ
    )
    assert done.stdout.endswith("[]\n"), done
