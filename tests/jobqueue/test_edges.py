"""What once went wrong with per-worker jobs, or nearly did."""

from __future__ import annotations

import asyncio
import pickle
import traceback
from pathlib import Path

import dask.config
import pytest
from distributed import Client

from mpidask.batch import registry
from mpidask.batch.job_state import JobId
from mpidask.batch.queries.questions import parse_answer, query_commands
from mpidask.errors import ArgumentError, BatchError, UsageError
from mpidask.jobqueue import FluxJob, HTCondorJob, LocalJobCluster, LSFJob, MoabJob, OARJob, PBSJob, SGEJob, SLURMJob
from mpidask.jobqueue.jobs.script import job_script
from mpidask.jobqueue.jobs.spec import JobRange
from mpidask.jobqueue.jobs.worker_command import worker_command
from mpidask.jobqueue.keywords import configuration

pytestmark = pytest.mark.one_mpi

W = {"scheduler": "tcp://10.0.0.1:8786", "name": "w-0", "python": "python3", "cores": 4, "memory": "8GB"}


@pytest.fixture(autouse=True)
def _plain_configuration():
    with dask.config.set({"jobqueue": configuration.defaults()}):
        yield


@pytest.mark.parametrize("shebang", ["#!/bin/bash -l", "#!/usr/bin/env -S bash -l", "#!/usr/bin/zsh"])
def test_a_shell_with_options_is_a_shell(shebang):
    script = job_script(SLURMJob(**W, shebang=shebang).spec, JobRange(Path("/logs"), 3))
    assert "job=3\n" in script
    assert "trap " in script


@pytest.mark.parametrize(("kind", "skip"), [(SLURMJob, "--array"), (LSFJob, "-J"), (PBSJob, "-J"), (SGEJob, "-t ")])
def test_an_array_whose_line_is_skipped_is_none(kind, skip):
    job_range = JobRange(Path("/logs"), 3, 10)
    assert kind(**W).spec.arrays(job_range)
    assert not kind(**W, job_directives_skip=[skip]).spec.arrays(job_range)


def test_flux_puts_its_id_into_the_name_of_the_log():
    assert "# flux: --output=/logs/dask-worker-{{id}}.out" in FluxJob(**W).spec.header(JobRange(Path("/logs"), 3))


@pytest.mark.parametrize("given", [["--lifetime", "25m"], ["--lifetime=25m"], ["--lifetime 25m"]])
def test_a_lifetime_of_the_users_own_counts(given):
    assert worker_command(SLURMJob(**W, worker_extra_args=given).spec).count("--lifetime") == 1


OWN_TIMES = [
    (SLURMJob, "-t ", "--time=10:00:00"),
    (SLURMJob, "-t ", "-t UNLIMITED"),
    (PBSJob, "walltime=", "-l mem=1gb,walltime=10:00:00"),
    (MoabJob, "walltime=", "-l walltime=10:00:00"),
    (SGEJob, "h_rt=", "-l h_rt=10:00:00"),
    (LSFJob, "-W", "-W 10:00"),
    (OARJob, "-l", "-l /nodes=1,walltime=10"),
    (FluxJob, "--time-limit", "-t10h"),
]


@pytest.mark.parametrize(("kind", "skip", "line"), OWN_TIMES)
def test_no_lifetime_follows_from_a_walltime_that_is_not_the_job_s(kind, skip, line):
    given = {**W, "memory_per_core_property_name": "not_applicable"} if kind is OARJob else W
    assert "--lifetime" in kind(**given).job_script()
    assert "--lifetime" not in kind(**given, job_extra_directives=[line]).job_script(), "a later option counts"
    assert "--lifetime" not in kind(**given, job_directives_skip=[skip]).job_script()
    assert "--lifetime" not in kind(**given, job_directives_skip=[skip], job_extra_directives=[line]).job_script()


def test_no_lifetime_follows_from_a_walltime_that_an_own_header_or_the_submit_command_changes():
    class Longer(SLURMJob):
        @property
        def job_header(self):
            return super().job_header.replace("-t 00:30:00", "-t 05:00:00")

    class Noted(SLURMJob):
        @property
        def job_header(self):
            return super().job_header + "\n#SBATCH --nice\n# not -t 1"

    assert "--lifetime" not in Longer(**W).job_script()
    assert "--lifetime" in Noted(**W).job_script()
    assert "--lifetime" not in SLURMJob(**W, submit_command_extra=["--time=1"]).job_script()


def test_the_margin_is_a_time():
    assert "--lifetime 1425s" in worker_command(SLURMJob(**W, lifetime_margin="5 min").spec)
    with pytest.raises(UsageError, match="lifetime_margin"):
        worker_command(SLURMJob(**W, lifetime_margin=-60).spec)


@pytest.mark.parametrize(("kind", "more"), [(SGEJob, {}), (HTCondorJob, {"disk": "1GB"})])
def test_several_nodes_are_refused_where_no_line_carries_them(kind, more):
    with pytest.raises(ArgumentError, match="has no option for nodes=4"):
        kind(**W, **more, nodes=4)
    if kind is SGEJob:
        assert kind(**W, nodes=4, parallel_environment="mpi").spec.header()


def test_htcondor_gets_one_line_for_the_shell():
    job = HTCondorJob(**W, disk="1GB", job_script_prologue=["# a comment", "now=$(date +%s)"])
    assert "now=$(DOLLAR)(date +%s); python3 -m distributed" in job.job_script()
    assert "a comment" not in job.job_script()
    with pytest.raises(ArgumentError, match="job_extra_directives"):
        HTCondorJob(**W, disk="1GB", job_extra_directives=["+Project = x"])


def test_a_unit_that_lsf_does_not_have():
    with pytest.raises(ArgumentError, match="lsf_units is 'xb'"):
        LSFJob(**W, lsf_units="xb")


def test_the_configurations_account_counts_before_an_old_project():
    with dask.config.set({"jobqueue.slurm.account": "a"}), pytest.warns(FutureWarning, match="project"):
        assert "#SBATCH -A a" in SLURMJob(**W, project="p").job_header


def test_oar_gets_no_blanks_at_an_end():
    job = OARJob(**W, memory_per_core_property_name="not_applicable", job_extra_directives={"-x": ""})
    assert job.job_header.endswith("#OAR -x")


@pytest.mark.parametrize("given", [{"cores": 0}, {"processes": 8}, {"processes": 0}, {"memory": "much"}])
def test_sizes_that_make_no_worker_are_refused(given):
    with pytest.raises(ArgumentError, match=r"cores=|(cores|processes|memory) is"):
        SLURMJob(**{**W, **given})


def test_what_is_told_of_an_element_after_its_end():
    """Grid Engine's accounting tells of all elements, LSF's explanation names the index."""
    sge = registry.find("sge")
    (command,) = query_commands(sge, sge.history, ["13.3"])
    assert command.argv[-1] == "13"
    rule = "=" * 62
    text = "".join(
        f"{rule}\nqname        all.q\njobnumber    13      \ntaskid       {i}     \nfailed       0\nexit_status  {i}\n"
        for i in (2, 3)
    )
    assert parse_answer(sge, sge.history, text)[0]["13.3"].exit_status == 3
    alone = text.split(rule)[1].replace("taskid       2", "taskid       undefined")
    assert parse_answer(sge, sge.history, alone)[0]["13"].exit_status == 2
    lsf = registry.find("lsf")
    told = "Job <12[3]>, Job Name <w[3]>, User <u>\n PENDING REASONS:\n Job slot limit has been reached;\n"
    assert parse_answer(lsf, lsf.explain, told)[0]["12[3]"].reason.startswith("Job slot limit")


def test_further_words_come_after_the_submit_command(tmp_path, monkeypatch):
    from mpidask.batch.submission import attempt
    from mpidask.jobqueue.jobs import dispatcher

    seen = []
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(
        attempt, "run_submit", lambda system, command, script, name: seen.append(command.argv) or JobId("7")
    )
    job = LSFJob(**W, submit_command_extra=["-x"])
    desk = dispatcher.Dispatcher.alone(job)
    job.dispatcher, desk._sentinel = desk, -1
    job.directory = desk.lease.directory
    desk._run_submit([job])
    assert job.identity == JobId("7")
    assert seen == [("env", "LSB_NTRIES=2", "bsub", "-x")]


def test_what_is_refused_while_adapting_has_an_end(tmp_path, monkeypatch):
    """Nobody is there to whom it could be raised: it is tried again after a while, and given up after some times."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    tried = []

    async def refuse(jobs):
        tried.append(len(jobs))
        raise BatchError("the batch system is full")

    async def adapting():
        given = {"cores": 1, "memory": "1GB", "asynchronous": True, "max_failures": 2}
        given["scheduler_options"] = {"dashboard_address": "127.0.0.1:0"}  # others may have the usual port
        async with LocalJobCluster(**given) as cluster, Client(cluster, asynchronous=True) as client:
            cluster.dispatcher.submit = refuse
            cluster.adapt(minimum=0, maximum=2, interval="50ms")
            error = await asyncio.wait_for(client.submit(sum, [1, 2]).exception(), 60)
            assert str(error) == "the batch system is full"
            assert "the batch system is full" in cluster.status_report()
            assert not cluster.jobs and not cluster.worker_spec

    asyncio.run(adapting())
    assert len(tried) == 2


def test_a_traceback_shows_the_remedy():
    with pytest.raises(ArgumentError) as caught:
        SLURMJob(**W, walltme="1:00:00")
    assert "did you mean walltime?" in "".join(traceback.format_exception(caught.value))
    again = pickle.loads(pickle.dumps(caught.value))
    assert (
        again.__notes__
        == caught.value.__notes__
        == ["remedy: did you mean walltime?; more: mpidask docs ArgumentError"]
    )


def test_a_directory_of_logs_is_what_the_shell_reads_here(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PLACE", "here")
    for given in ("~/$PLACE/logs", "$HOME/${PLACE}/logs"):
        job = SLURMJob(**W, log_directory=given)
        assert f"#SBATCH -o {tmp_path}/here/logs/dask-worker-%J.out" in job.spec.header()
    with pytest.raises(ArgumentError, match="NOT_SET"):
        SLURMJob(**W, log_directory="$NOT_SET/logs")
