"""What is said of a cluster's jobs, and how workers and log files are known to be a job's."""

from __future__ import annotations

import asyncio
import os
import re
from types import SimpleNamespace
from unittest import mock

import dask
import pytest
from distributed import SpecCluster

from mpidask.batch import registry
from mpidask.batch.job_state import NEVER, JobId, JobState
from mpidask.batch.status import Standing
from mpidask.jobqueue import HTCondorJob, LSFJob, PBSCluster, PBSJob, SGEJob, SLURMJob, worker
from mpidask.jobqueue.cluster import report
from mpidask.jobqueue.cluster.reconciler import Reconciler
from mpidask.jobqueue.keywords import configuration

pytestmark = pytest.mark.one_mpi


@pytest.fixture(autouse=True)
def nobodys_configuration():
    """The defaults count, whatever whoever runs the tests has configured."""
    with dask.config.set({"jobqueue": configuration.defaults()}):
        yield


def job(number=0, state=JobState.PENDING, *, present=(), arrived=None, tail="", cancelled=False, **standing):
    """Return a stand-in for a job."""
    return SimpleNamespace(
        identity=JobId(str(100 + number)),
        name=f"w-{number}",
        state=state,
        standing=Standing(id=str(100 + number), state=state, **standing),
        present=set(present),
        worker_processes=2,
        arrived_at=arrived,
        tail=tail,
        cancelled=cancelled,
    )


# A few words.


def test_no_jobs():
    assert report.summary([]) == "none"
    assert report.as_text([], [], None) == "jobs: none"


def test_jobs_are_counted_by_state():
    jobs = [job(0, JobState.PENDING), job(1, JobState.RUNNING), job(2, JobState.RUNNING), job(3, JobState.FAILED)]
    assert report.summary(jobs) == "1 pending, 2 running, 1 failed"


def test_the_most_common_reason_is_told_except_of_jobs_that_run():
    jobs = [
        job(0, reason="other jobs come first"),
        job(1, reason="other jobs come first"),
        job(2, reason="waits until enough nodes are free"),
        job(3),
        job(4, JobState.RUNNING, reason="said when it waited"),
        job(5, JobState.HELD, reason="held"),
    ]
    assert report.summary(jobs) == "4 pending (other jobs come first), 1 held (held), 1 running"


# A line each.


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({}, "100  w-0  pending"),
        ({"state": JobState.RUNNING, "present": {"w-0-0"}}, "100  w-0  running  workers 1 of 2"),
        ({"reason": "other jobs come first"}, "100  w-0  pending  (other jobs come first)"),
        ({"start": "2026-11-21T09:00:00"}, "100  w-0  pending  expected to start 2026-11-21 09:00:00"),
        (
            {"state": JobState.RUNNING, "start": "2026-11-21T09:00:00"},
            "100  w-0  running  workers 0 of 2",
        ),
        (
            {"state": JobState.HELD, "reason": "held", "start": "2026-11-21T09:00:00"},
            "100  w-0  held  (held)  expected to start 2026-11-21 09:00:00",
        ),
        ({"silent": "squeue: timeout"}, "100  w-0  pending  (the batch system does not answer)"),
    ],
)
def test_a_job_in_one_line(given, line):
    assert report.line(job(**given)) == line


def test_a_job_that_is_not_submitted_yet():
    new = job()
    new.identity = JobId("")
    assert report.line(new) == "-  w-0  pending"


def test_a_table_of_many_jobs_ends_somewhere():
    lines = report.as_text([job(number) for number in range(23)], [], None).splitlines()
    assert lines[0] == "jobs: 23 pending"
    assert lines[1:3] == ["  100  w-0  pending", "  101  w-1  pending"]
    assert lines[20:] == ["  119  w-19  pending", "  ... and 3 more"]
    assert "more" not in report.as_text([job(number) for number in range(20)], [], None)


# Those that ended.


def test_how_a_job_ended():
    dead = job(0, JobState.FAILED, exit_status=137, reason="out of memory", tail="one\ntwo")
    assert report.exit_summary(dead, tail=False) == (
        "job 100 (w-0) ended before its workers came: exit status 137: out of memory"
    )
    assert report.exit_summary(dead, tail=True).splitlines()[1:] == ["  | one", "  | two"]


def test_a_job_whose_workers_had_come_has_just_ended():
    assert report.exit_summary(job(0, JobState.DONE, arrived=1.0, exit_status=0), tail=False) == (
        "job 100 (w-0) ended: exit status 0"
    )
    assert report.exit_summary(job(0, JobState.DONE, arrived=1.0), tail=False) == "job 100 (w-0) ended"


def test_a_job_that_has_printed_nothing_says_so():
    assert report.exit_summary(job(0, JobState.FAILED), tail=True).splitlines() == [
        "job 100 (w-0) ended before its workers came",
        "  | (it has printed nothing)",
    ]


def test_the_last_failure_is_shown_and_jobs_that_were_cancelled_are_none():
    ended = [
        job(0, JobState.FAILED, tail="first"),
        job(1, JobState.FAILED, tail="second", exit_status=1),
        job(2, JobState.FAILED, tail="third", cancelled=True),
        job(3, JobState.DONE, tail="fourth"),
    ]
    assert report.as_text([job(4)], ended, "no more are submitted").splitlines() == [
        "jobs: 1 pending",
        "  104  w-4  pending",
        "failed: 2",
        "  job 101 (w-1) ended before its workers came: exit status 1",
        "    | second",
        "no more are submitted",
    ]


def test_a_notebook_shows_the_same_and_no_log_is_taken_for_html():
    ended = [job(0, JobState.FAILED, tail="<script>alert('x')</script> & more")]
    text = report.as_html([job(1, reason="a < b")], ended, "<b>")
    assert re.match(r"<pre[^>]*>jobs: 1 pending \(a &lt; b\)\n", text), text
    assert text.endswith("</pre>")
    inner = text.partition(">")[2].removesuffix("</pre>")
    assert "<" not in inner and ">" not in inner
    assert "&lt;script&gt;" in inner and "&amp; more" in inner


# Whose worker it is.


def real(kind=SLURMJob, name="w-0", **given):
    return kind("tcp://10.0.0.1:8786", name, **{"cores": 4, "memory": "8GB", **given})


def test_a_job_owns_the_workers_that_it_names():
    for given in ({"processes": 1}, {"processes": 2}, {"nodes": 2}, {"nodes": 2, "ranks_per_node": 2, "processes": 4}):
        mine = real(**given)
        assert mine.worker_names
        assert all(mine.owns(name) for name in mine.worker_names)


@pytest.mark.parametrize("name", ["w-1", "w-01", "w-10", "w-0-", "w-0-x", "xw-0", "w", "", 0])
def test_a_job_does_not_own_workers_of_others(name):
    assert not real().owns(name)


def test_signs_in_a_name_are_only_signs():
    assert not real(name="w.0").owns("wx0")
    assert real(name="a+b-0").owns("a+b-0-1")
    assert real(name=3).owns("3") and real(name=3).owns(3) and not real(name=3).owns(33)


@pytest.mark.parametrize("name", ["w-$SLURM_JOB_ID", "w-${SLURM_JOB_ID}", "$HOSTNAME", "w-$A-$B"])
def test_variables_in_a_name_may_be_anything(name):
    """dask-jobqueue's users name workers after the job array's element that they are."""
    mine = real(name=name)
    assert mine.owns("w-4711-n1")
    assert mine.owns("w-4711-n1-0")
    assert mine.owns("other") == (name == "$HOSTNAME")


# Whose log it is.


def found(mine, job_id, directory):
    """Return the names of the files that are taken for the job's logs."""
    mine.id, mine.directory = job_id, directory
    keywords = mine.spec.keywords
    logs = mine.files.system_logs(mine.id, keywords["job_name"], keywords["log_directory"])
    return [path.name for path in logs]


#: class, id -> files that are its own, and others beside them
FILES = {
    (SLURMJob, "12"): (["dask-worker-12.err", "dask-worker-12.out"], ["dask-worker-112.out", "dask-worker-120.out"]),
    (SLURMJob, "1"): (["dask-worker-1.out", "slurm-1.out"], ["dask-worker-11.out", "slurm-10.out", "slurm-21.out"]),
    (SLURMJob, "12_3"): (
        ["dask-worker-12_3.err", "dask-worker-12_3.out"],
        ["dask-worker-12_30.out", "dask-worker-12_13.out", "dask-worker-112_3.out", "dask-worker-13_3.out"],
    ),
    (SGEJob, "12"): (["dask-worker.e12", "dask-worker.o12"], ["dask-worker.o120", "dask-worker.o112"]),
    (SGEJob, "12.3"): (["dask-worker.o12.3"], ["dask-worker.o12.30", "dask-worker.o112.3", "dask-worker.o12"]),
    (PBSJob, "12.server1"): (["dask-worker.e12", "dask-worker.o12"], ["dask-worker.o1", "dask-worker.o121"]),
    (PBSJob, "12[3].server"): (
        ["dask-worker.o12.3"],
        ["dask-worker.o12.30", "dask-worker.o12.13", "dask-worker.o12"],
    ),
    (LSFJob, "12"): (["dask-worker-12.err", "dask-worker-12.out"], ["dask-worker-123.out"]),
    (LSFJob, "12[3]"): (["dask-worker-12.3.out"], ["dask-worker-12.30.out", "dask-worker-13.3.out"]),
    (HTCondorJob, "12"): (["worker-12.0.err", "worker-12.0.out", "worker-12.log"], ["worker-112.0.out"]),
}


@pytest.mark.parametrize(("kind", "job_id"), FILES)
def test_a_job_s_logs_are_those_that_have_its_id(kind, job_id, tmp_path):
    own, others = FILES[kind, job_id]
    for name in [*own, *others]:
        (tmp_path / name).write_text(name)
    mine = real(kind, **({"disk": "1 GB"} if kind is HTCondorJob else {}))
    assert found(mine, job_id, tmp_path) == own
    assert mine.system_log == "".join(own)


def test_leading_zeros_are_no_part_of_an_id(tmp_path):
    (tmp_path / "log-0012.out").write_text("")
    (tmp_path / "log-0112.out").write_text("")
    assert found(real(), "12", tmp_path) == ["log-0012.out"]


def test_what_jobs_leave_by_number_is_not_taken_for_the_log_of_a_job_with_that_id(tmp_path):
    for name in ("12.log", "12.status", "112.log"):
        (tmp_path / name).write_text("")
    assert found(real(number=3), "12", tmp_path) == []


def test_logs_are_looked_for_where_the_user_wants_them(tmp_path):
    logs, cluster = tmp_path / "logs", tmp_path / "cluster"
    mine = real(log_directory=str(logs))
    for directory in (logs, cluster):
        directory.mkdir(exist_ok=True)
        (directory / "dask-worker-12.out").write_text(directory.name)
    (logs / "12").mkdir()
    assert found(mine, "12", cluster) == ["dask-worker-12.out"]
    assert mine.system_log == "logs"


def test_a_job_without_id_or_place_has_no_logs(tmp_path):
    (tmp_path / "dask-worker-12.out").write_text("")
    assert found(real(), "", tmp_path) == []
    assert found(real(), "12", None) == []
    assert found(real(), "12", tmp_path / "gone") == []


def test_what_a_job_has_left(tmp_path):
    mine = real(number=3)
    mine.directory = tmp_path
    assert (mine.log, mine.tail, mine.exited) == ("", "", None)
    (tmp_path / "3.log").write_text("".join(f"line {number}\n" for number in range(50)))
    (tmp_path / "3.status").write_text("137\n")
    assert mine.exited == 137
    assert mine.exited_at == (tmp_path / "3.status").stat().st_mtime
    assert mine.tail.splitlines() == [f"line {number}" for number in range(30, 50)]
    (tmp_path / "3.status").write_text("")
    assert mine.exited is None, "it is being written"


def test_the_system_s_words_come_after_the_job_s(tmp_path):
    mine = real(number=3)
    mine.directory, mine.id = tmp_path, "4711"
    (tmp_path / "3.log").write_text("from the worker\n")
    (tmp_path / "dask-worker-4711.out").write_text("slurmstepd: error: CANCELLED\n")
    assert mine.tail.splitlines() == ["from the worker", "slurmstepd: error: CANCELLED"]


def test_a_job_that_will_never_start_is_logged_once(caplog):
    hopeless = job(
        0, reason="asks for more than the site has: it will never start (Can Never Run: ncpus (R: 999 A: 2))"
    )
    waits = job(1, reason="other jobs come first")
    reconciler = Reconciler(SimpleNamespace(), None, None, 1.0, 3)
    for _ in range(2):
        reconciler._notice_hopeless([hopeless, waits])
    assert [record.getMessage() for record in caplog.records] == [
        f"job 100 (w-0): {hopeless.standing.reason}; more: mpidask docs jobs-of-a-cluster",
    ]
    assert report.never_starts(hopeless)
    assert not report.never_starts(waits)
    assert not report.never_starts(job(2, JobState.RUNNING, reason=hopeless.standing.reason))


def test_words_for_jobs_that_wait_in_vain_end_alike():
    words = [each for name in registry.names() for each in registry.find(name).reasons.values() if "never" in each]
    assert words
    assert all(each.endswith(NEVER) for each in words)


def test_a_timeout_tells_why_the_jobs_wait():
    async def waits(self, n_workers, timeout):
        raise TimeoutError("Only 0/1 workers arrived after 1s")

    cluster = object.__new__(PBSCluster)
    cluster.reconciler = SimpleNamespace(failure=None, ended=[])
    told = {"status_report": lambda self: "1 pending (it will never start)", "failure": None}
    with (
        mock.patch.object(SpecCluster, "wait_for_workers", waits),
        mock.patch.multiple(PBSCluster, **told),
        pytest.raises(TimeoutError, match=r"Only 0/1 workers[^$]*it will never start"),
    ):
        asyncio.run(PBSCluster._await_workers(cluster, 1, 1))


def test_a_worker_does_not_take_the_threads_that_pbs_sets_for_what_the_user_wants(monkeypatch, tmp_path):
    seen = {}

    def command(words):
        seen.update(os.environ)
        raise SystemExit(0)

    for name, text in {"PBS_JOBID": "1.pbs", "NCPUS": "4", "OMP_NUM_THREADS": "4", "MKL_NUM_THREADS": "2"}.items():
        monkeypatch.setenv(name, text)
    monkeypatch.setattr(worker.signal, "signal", lambda *_: None)
    monkeypatch.setattr(worker.dask_worker, "main", command)
    with pytest.raises(SystemExit):
        worker.main(["tls://somewhere:1", "--local-directory", str(tmp_path)])
    assert "OMP_NUM_THREADS" not in seen
    assert (seen["MKL_NUM_THREADS"], seen["NCPUS"]) == ("2", "4")
