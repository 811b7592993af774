"""What is asked of the batch system for other than what the workers use, and the ports on which they listen."""

from __future__ import annotations

import contextlib
import re
import socket

import pytest
from distributed import Scheduler
from free_ports import own_port

from mpidask.errors import ArgumentError, StartupError
from mpidask.jobqueue import FluxJob, HTCondorJob, LocalJob, LSFJob, MoabJob, OARJob, PBSJob, SGEJob, SLURMJob, worker
from mpidask.jobqueue.cluster import scheduler_options
from mpidask.jobqueue.jobs.worker_command import worker_command
from mpidask.ports.port_range import PortRange

pytestmark = [pytest.mark.one_mpi, pytest.mark.usefixtures("nobodys_place")]

FIRST = own_port(4)


def make(kind, **given):
    needed = {SGEJob: {"parallel_environment": "smp"}, HTCondorJob: {"disk": "1GB"}}.get(kind, {})
    needed |= {"memory_per_core_property_name": "memcore"} if kind is OARJob else {}
    return kind("tls://10.0.0.1:8786", "w", **{"cores": 3, "memory": "64GB", "processes": 1, **needed, **given})


@pytest.mark.parametrize(
    ("kind", "asked"),
    [
        (SLURMJob, "--cpus-per-task=16\n"),
        (PBSJob, "ncpus=16:"),
        (MoabJob, "ncpus=16:"),
        (SGEJob, "-pe smp 16\n"),
        (LSFJob, "-n 16\n"),
        (OARJob, "/core=16,"),
        (OARJob, "memcore>=3815\n"),  # 64 GB on 16 cores
        (FluxJob, "--cores-per-slot=16\n"),
        (HTCondorJob, "MY.DaskWorkerCores = 16\n"),
    ],
)
def test_the_batch_system_is_asked_for_other_cores_than_the_workers_use(kind, asked):
    script = make(kind, job_cores=16).job_script()
    assert asked in script, script
    assert "--nthreads 3 " in script, script
    assert asked not in make(kind).job_script()


def test_several_nodes_and_ranks_share_the_cores_that_are_asked_for():
    script = make(SLURMJob, cores=4, processes=2, job_cores=16, nodes=2, ranks_per_node=2, launcher="srun").job_script()
    assert "#SBATCH --cpus-per-task=8\n" in script, script
    assert re.search(r"srun .*--cpus-per-task=8 ", script), script
    assert "--nthreads 2 " in script, script


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (SGEJob, {"parallel_environment": None}),
        (SLURMJob, {"job_cpu": 8}),
        (SLURMJob, {"job_directives_skip": ["--cpus-per-task"]}),
        (LSFJob, {"ncpus": 8}),
        (PBSJob, {"resource_spec": "select=1:ncpus=8"}),
    ],
)
def test_cores_that_no_option_line_would_carry_are_refused(kind, given):
    with pytest.raises(ArgumentError, match="would not be asked for job_cores=16"):
        make(kind, job_cores=16, **given)


def test_without_a_batch_system_there_is_nobody_to_ask():
    assert "--nthreads 3 " in make(LocalJob, job_cores=16).job_script()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "--nanny --worker-port 40000:40100 --nanny-port 40000:40100 "),
        ({"nanny": False}, "--no-nanny --worker-port 40000:40100 --death-timeout"),
    ],
)
def test_workers_get_the_range(given, words):
    assert words in worker_command(make(SLURMJob, port_range="40000:40100", **given).spec)


@pytest.mark.parametrize(
    ("given", "what", "remedy"),
    [
        ({"port_range": "40000-40100"}, "port_range is '40000-40100'", "did you mean 40000:40100"),
        ({"port_range": "40000:40002", "processes": 2}, "40000:40002 has 3 ports, and the 2 workers", "a wider one"),
        (
            {"port_range": "40000:40100", "worker_command": "dask_cuda.cli"},
            "there is dask_cuda.cli",
            "worker_extra_args",
        ),
    ],
)
def test_a_range_that_cannot_be_used_is_refused(given, what, remedy):
    with pytest.raises(ArgumentError, match=re.escape(what)) as raised:
        worker_command(make(SLURMJob, **given).spec)
    assert remedy in raised.value.remedy


def test_the_scheduler_says_that_the_range_is_used_up(tmp_path):
    options = {
        "local_directory": str(tmp_path),
        "host": "127.0.0.1",
        "dashboard_address": "127.0.0.1:0",
        "dashboard": False,
    }
    ports = PortRange(FIRST, FIRST + 1)
    scheduler = scheduler_options.make(Scheduler, None, gated=False, ports=ports, **options)
    assert scheduler.http_server.port in (FIRST, FIRST + 1)
    with pytest.raises(StartupError, match=f"the port range {ports} is used up"):
        scheduler_options.make(Scheduler, None, gated=False, ports=ports, **options)
    scheduler.http_server.stop()


def test_a_worker_that_finds_no_port_names_the_range(monkeypatch, capsys):
    """Dask says that a nanny failed to start."""

    def fail(words):
        raise RuntimeError("Nanny failed to start.")

    monkeypatch.setattr(worker.dask_worker, "main", fail)
    words = ["--worker-port", f"{FIRST}:{FIRST + 3}", "--nanny-port", f"{FIRST}:{FIRST + 3}", "--nworkers", "2"]
    with contextlib.ExitStack() as held:
        for port in (FIRST, FIRST + 2):
            held.enter_context(socket.create_server(("127.0.0.1", port)))
        with pytest.raises(RuntimeError, match="failed to start"):
            worker.main(words)
    assert f"the port range {FIRST}:{FIRST + 3} is used up on " in (said := capsys.readouterr().err), said
    assert "2 of its 4 ports are free, and 4 are needed" in said
    with pytest.raises(RuntimeError, match="failed to start"):
        worker.main(words)
    assert capsys.readouterr().err == "", "the ports are not what is wrong"
