"""No job is lost from sight: whatever cuts a submission off, and however a job ends."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import threading
import time
from pathlib import Path

import dask.config
import pytest

from mpidask.batch import leases, registry, sentinel
from mpidask.batch.commands import runner
from mpidask.batch.job_state import JobId, JobState
from mpidask.batch.queries import lookup
from mpidask.batch.status import Standing
from mpidask.batch.submission import attempt
from mpidask.errors import BatchError, UnclearError
from mpidask.jobqueue import SLURMCluster
from mpidask.jobqueue.cluster import reconciler
from mpidask.jobqueue.jobs import preparation
from mpidask.jobqueue.keywords import configuration

pytestmark = pytest.mark.one_mpi

_LONG = 30.0  # s after which a test gives up


class StandIn:
    """What stands in for Slurm.

    queue:      job id -> state
    cancelled:  the jobs that scancel was told of
    submitted:  how many jobs it has taken
    go_on:      a submission waits for it
    error:      what a submission raises after the job has been taken
    """

    def __init__(self):
        self.queue: dict[str, str] = {}
        self.scripts: dict[str, str] = {}
        self.cancelled: list[str] = []
        self.submitted = 0
        self.go_on = threading.Event()
        self.go_on.set()
        self.error: Exception | None = None
        self.mute = False

    def run_submit(self, system, command, script, directory=None, name=""):
        self.submitted += 1
        taken = str(100 + self.submitted)
        self.go_on.wait(_LONG)
        self.queue[taken], self.scripts[taken] = "PD", str(script)
        if self.error is not None:
            raise self.error
        return JobId(taken)

    def run(self, command, *args, **options):
        status, out = 0, ""
        if command.argv[0] == "squeue":
            status = int(self.mute)
            out = "" if self.mute else "".join(f"{job}|{state}|None|N/A|0|0|\n" for job, state in self.queue.items())
        elif command.argv[0] == "scancel":
            self.cancelled += command.argv[1:]
            for job in command.argv[1:]:
                self.queue.pop(job, None)
        return runner.Output(command, status, out, "")


@pytest.fixture
def slurm(monkeypatch, tmp_path):
    """Stand in for Slurm."""
    stand_in = StandIn()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(attempt, "run_submit", stand_in.run_submit)
    monkeypatch.setattr(runner, "run", stand_in.run)
    monkeypatch.setattr(sentinel, "start", lambda lease: os.open(os.devnull, os.O_RDONLY))
    with dask.config.set({"jobqueue": configuration.defaults()}):
        yield stand_in


def cluster(**given):
    scheduler = {} if given.get("remote_scheduler") else {"dashboard": False}
    given = {"cores": 1, "memory": "1GB", "security": False, "scheduler_options": scheduler, "max_failures": 3, **given}
    return SLURMCluster(**given, asynchronous=True, poll_interval="50 ms")


async def until(condition):
    """Wait until a condition holds."""
    end = time.monotonic() + _LONG
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


def dies(slurm, job, lived=100.0):
    """Have a job end badly whose workers were there for so many s."""
    slurm.queue.pop(job.id, None)
    job.arrived_at, job.seen_at = time.time() - lived, time.time()
    job.standing = Standing(id=job.id, state=JobState.FAILED, final=True)


def test_a_job_whose_submission_is_cut_off_belongs_to_the_cluster(slurm):
    async def interrupted():
        async with cluster() as held:
            slurm.go_on.clear()
            scaling = asyncio.ensure_future(held.scale(1))
            await until(lambda: slurm.submitted)
            scaling.cancel()
            await asyncio.sleep(0.1)
            slurm.go_on.set()
            await until(lambda: [job.id for job in held.jobs] == ["101"])

    asyncio.run(interrupted())
    assert slurm.cancelled == ["101"] and not slurm.queue


def test_a_cluster_that_closes_while_a_job_is_replaced_cancels_the_replacement(slurm):
    async def closing():
        async with cluster() as held:
            await held.scale(1)
            slurm.go_on.clear()
            dies(slurm, held.jobs[0])
            await until(lambda: slurm.submitted == 2)
            asyncio.get_running_loop().call_later(0.5, slurm.go_on.set)

    asyncio.run(closing())
    assert slurm.cancelled == ["102"] and not slurm.queue


@pytest.mark.parametrize("under_way", [True, False])
def test_a_scheduler_s_job_that_waits_is_cancelled_with_the_cluster_s_start(slurm, under_way):
    async def starting():
        held = cluster(remote_scheduler=True)
        if under_way:
            slurm.go_on.clear()
        start = asyncio.ensure_future(held._start())
        await until(lambda: slurm.submitted if under_way else slurm.queue)
        start.cancel()
        asyncio.get_running_loop().call_later(0.5, slurm.go_on.set)
        with contextlib.suppress(asyncio.CancelledError):
            await start
        await held.close()
        assert held.dispatcher.lease.is_released

    asyncio.run(starting())
    assert slurm.cancelled == ["101"] and not slurm.queue


def test_what_is_on_record_and_alive_at_the_end_is_cancelled(slurm):
    async def forgotten():
        async with cluster() as held:
            await held.scale(1)
            held.dispatcher.lease.add([(7, JobId("77"))])
            slurm.queue["77"] = "R"

    asyncio.run(forgotten())
    assert sorted(slurm.cancelled) == ["101", "77"] and not slurm.queue


def leaves(job, status):
    """Have a job's script end, in its first execution."""
    (job.directory / f"{job.number}.executions").write_text("0 1 h\n")
    (job.directory / f"{job.number}.status").write_text(f"{status}\n")


def test_a_job_that_was_preempted_is_cancelled_and_one_that_closes_is_not(slurm, monkeypatch):
    """What an earlier execution has left is not the job's end, be it known that it waits again or not."""

    async def scaled_down():
        async with cluster() as held:
            await held.scale(3)
            await held.reconciler.stop()
            waits, preempted, closes = held.jobs
            for job in held.jobs:
                job.arrived_at = time.time()
                job.standing = Standing(id=job.id, native="R", state=JobState.RUNNING)
                leaves(job, 0 if job is closes else 143)
            waits.standing = Standing(id=waits.id, native="PD", restarts=1)
            await held.dispatcher.cancel(held.jobs, 0.5)
            assert sorted(slurm.cancelled) == sorted([waits.id, preempted.id])
            slurm.queue.clear()

    asyncio.run(scaled_down())


def test_jobs_are_cancelled_again_where_nobody_says_whether_they_are_left(slurm, caplog):
    async def closed():
        async with cluster() as held:
            await held.scale(1)
            slurm.mute = True
            return held.dispatcher._lease

    lease = asyncio.run(closed())
    assert slurm.cancelled == ["101", "101"]
    assert "they are cancelled if it answers soon" in caplog.text
    assert not lease.is_released, "the sentinel goes on to look for them"


def test_whoever_gives_up_what_the_watch_waits_for_too_does_not_end_it(slurm):
    """As by Ctrl-C in `scale()` while a job is replaced."""

    async def interrupted():
        async with cluster() as held:
            await held.scale(1)
            async with held._changing:
                dies(slurm, *held.jobs)
                await until(lambda: held._waiting is not None)
                held._waiting.cancel()
                await asyncio.sleep(0.1)
            await until(lambda: slurm.submitted == 2)
            assert not held.reconciler._task.done()

    asyncio.run(interrupted())


@pytest.fixture
def unclear(slurm, monkeypatch):
    """Have Slurm take jobs and not say so; by their scripts they can be found."""

    def find_by_script(system, script, name, where=(), earlier=()):
        if slurm.mute:
            raise BatchError("no answer")
        return next((JobId(job) for job, each in slurm.scripts.items() if each == str(script)), None)

    monkeypatch.setattr(lookup, "find_by_script", find_by_script)
    slurm.error = UnclearError("the job may have been submitted")
    slurm.mute = True
    return slurm


def test_a_job_that_may_have_been_submitted_takes_its_place_until_it_is_found(unclear):
    async def replaced():
        async with cluster() as held:
            unclear.error = None
            await held.scale(1)
            unclear.error = UnclearError("the job may have been submitted")
            dies(unclear, held.jobs[0])
            await until(lambda: unclear.submitted == 2 and held.jobs)
            assert "unknown  (it may have been submitted)" in held.status_report()
            await asyncio.sleep(3)  # longer than the pause before the next try
            assert unclear.submitted == 2 and held.failure is None and len(held.planned_jobs) == 1
            unclear.mute = False
            await until(lambda: held.jobs[0].id == "102")

    asyncio.run(replaced())
    assert unclear.cancelled == ["102"] and not unclear.queue


def test_a_job_that_may_have_been_submitted_is_looked_for_at_the_end(unclear):
    async def closed():
        async with cluster() as held:
            with pytest.raises(UnclearError):
                await held.scale(2)
            assert len(held.planned_jobs) == len(held.jobs) == 1
            await held.scale(0)
            unclear.mute = False

    asyncio.run(closed())
    assert unclear.cancelled == ["101"] and not unclear.queue


@pytest.mark.parametrize("earlier", [False, True])  # whether a look finds that which began before the job was there
def test_a_job_that_is_looked_for_and_not_there_has_failed(unclear, monkeypatch, earlier):
    monkeypatch.setattr(lookup, "APPEARS", 0.0)

    async def given_up():
        async with cluster(max_failures=1) as held:
            with pytest.raises(UnclearError):
                await held.scale(1)
            if earlier:
                await held.reconciler.stop()
            unclear.scripts.clear()
            unclear.queue.clear()
            unclear.mute = False
            if earlier:
                await held.dispatcher.look([])
                held.reconciler.start()
            await until(lambda: held.failure is not None)
            assert "does not list it" in held.failure.what and not held.jobs

    asyncio.run(given_up())
    assert not unclear.cancelled


@pytest.mark.parametrize(
    ("status", "rows", "told"),
    [
        (0, "7|/x/other/job.sh\n", None),
        (0, "7|/x/0/job.sh\n", JobId("7")),
        (0, "7|/x/0/job.sh\n8|/x/0/job.sh\n", BatchError),
        (1, "", BatchError),
        (0, "slurm_load_jobs error: Unable to contact slurm controller\n", BatchError),
        (0, "JOBID  COMMAND\n", BatchError),
    ],
)
def test_a_search_tells_absence_from_no_answer(monkeypatch, status, rows, told):
    monkeypatch.setattr(runner, "run", lambda command, *args: runner.Output(command, status, rows, ""))
    search = functools.partial(lookup.find_by_script, registry.find("slurm"), Path("/x/0/job.sh"), "dask-worker", ())
    if told is BatchError:
        with pytest.raises(BatchError, match="did not tell"):
            search()
    else:
        assert search() == told


def test_a_full_quota_costs_neither_a_job_nor_its_replacement(slurm, monkeypatch, caplog):
    def full(*args):
        raise OSError(28, "No space left on device")

    async def replaced():
        async with cluster() as held:
            await held.scale(1)
            with monkeypatch.context() as patch:
                patch.setattr(leases.Lease, "add", full)
                dies(slurm, held.jobs[0])
                await until(lambda: [job.id for job in held.jobs] == ["102"])
            with monkeypatch.context() as patch:
                patch.setattr(preparation, "replace", full)
                dies(slurm, held.jobs[0])
                await until(lambda: "the job script cannot be written" in caplog.text)
                assert slurm.submitted == 2 and held.failure is None
            await until(lambda: [job.id for job in held.jobs] == ["103"])
            with monkeypatch.context() as patch:
                patch.setattr(type(held.dispatcher), "submit", full)
                dies(slurm, held.jobs[0])
                await until(lambda: "OSError" in caplog.text)
            held.reconciler.reset_failures()
            await until(lambda: [job.id for job in held.jobs] == ["104"])

    asyncio.run(replaced())
    assert slurm.cancelled == ["104"] and not slurm.queue
    assert "jobs 102 are not on record" in caplog.text


def test_jobs_that_die_soon_after_their_workers_came_are_replaced_with_pauses_and_have_an_end(slurm, monkeypatch):
    monkeypatch.setattr(reconciler, "_BACKOFF", 0.2)

    async def dying():
        async with cluster(max_failures=3) as held:
            await held.scale(2)
            for job in held.jobs:  # together: that is one failure
                dies(slurm, job, 1.0)
            await until(lambda: slurm.submitted > 2)
            assert held.reconciler.failures == 1
            while held.failure is None:
                for job in [job for job in held.jobs if job.id]:
                    dies(slurm, job, 1.0)
                await asyncio.sleep(0.05)
            assert "3 in a row ended before their workers came or soon after" in held.failure.what

    asyncio.run(asyncio.wait_for(dying(), 60))
    assert slurm.submitted <= 5 and not slurm.queue


def test_a_first_submission_removes_clusters_that_were_closed_long_ago(slurm):
    old = leases.create("slurm", "Old")
    old.note_released()
    moment = time.time() - 40 * 86400
    directory = old.directory.with_name(
        time.strftime("%Y%m%d-%H%M%S", time.localtime(moment)) + old.directory.name[15:]
    )
    old.directory.rename(directory)
    for path in (*directory.iterdir(), directory):
        os.utime(path, (moment, moment))

    async def submitting():
        async with cluster() as held:
            assert directory.exists()
            await held.scale(1)
            assert not directory.exists()

    asyncio.run(submitting())
