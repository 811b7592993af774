"""What is removed of old jobs and clusters, and what is not."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from mpidask.batch import cleaning, leases, settings
from mpidask.batch.job import BatchJob
from mpidask.batch.job_state import JobId, JobState
from mpidask.batch.queries import monitor
from mpidask.batch.records import store
from mpidask.batch.status import Standing
from mpidask.batch.submission import attempt, handles
from mpidask.batch.systems.slurm import SYSTEM
from mpidask.errors import BatchError, UnclearError, UsageError

DAY = 86400.0


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "mpidask"


def aged(directory, days):
    """Have a directory and what is in it be of another time; return the directory that it is then."""
    moment = time.time() - days * DAY
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(moment))
    directory = directory.rename(directory.with_name(stamp + directory.name[15:]))
    for path in [*directory.iterdir(), directory]:
        os.utime(path, (moment, moment))
    return directory


def job(days, ids=("7",), standing=None, **files):
    """Make a run directory that is so old."""
    record, _ = store.create(BatchJob(command=("true",), name="x"), SYSTEM, None)
    for job_id in ids:
        record.add_submission(JobId(job_id))
    if standing is not None:
        record.keep(standing)
    for name, text in files.items():
        (record.directory / name).write_text(text)
    return aged(record.directory, days)


def over(days, state=JobState.FAILED, **more):
    return Standing(id="7", state=state, final=True, asked=time.time() - days * DAY, **more)


def tidied(*directories):
    """Return which directories are left."""
    cleaning.tidy(settings.load({}))
    return [each.exists() for each in directories]


@pytest.mark.parametrize("final", [JobState.DONE, JobState.FAILED, JobState.CANCELLED])
def test_a_submission_removes_jobs_that_ended_long_ago(state, final):
    old, younger = job(31, standing=over(31, final)), job(29, standing=over(29, final))
    assert tidied(old, younger) == [False, True]


@pytest.mark.parametrize(
    "standing",
    [
        None,
        Standing(id="7"),
        Standing(id="7", state=JobState.RUNNING),
        Standing(id="7", state=JobState.HELD),
        Standing(id="7", state=JobState.UNKNOWN),
        Standing(id="7", state=JobState.FAILED),  # not for good
        Standing(id="6", state=JobState.DONE, final=True),  # an earlier submission
        over(2),  # it waited long
    ],
)
def test_what_may_wait_or_run_is_kept(state, standing):
    assert tidied(job(300, standing=standing)) == [True]


def test_a_directory_into_which_something_writes_is_kept(state):
    directory = job(300, standing=over(300))
    (directory / "job.log").write_text("it runs again")
    assert tidied(directory) == [True]


def test_failed_submissions(state):
    refused, forgotten, unclear, ran = (
        job(31, (), refused=""),
        job(31, ()),
        job(31, (), **{"submitting.0.0": ""}),
        job(31, (), status="0", **{"submitting.0.0": ""}),
    )
    unfinished = job(31, ())
    (unfinished / "record.json").unlink()
    again = job(31, standing=over(31), **{"submitting.1.0": ""})
    unfinished = aged(unfinished, 31)
    fresh = state / "jobs" / "20200101-000000-x-1234"
    fresh.mkdir()
    strange = state / "jobs" / "mine"
    strange.mkdir()
    assert tidied(refused, forgotten, unclear, ran) == [False, False, True, False]
    assert tidied(unfinished, again, fresh, strange) == [False, True, True, True]


def test_clusters_by_the_same_rule(state):
    closed, younger, held = (leases.create("local", "Test") for _ in range(3))
    for each in (closed, younger):
        each.note_released()
    places = [aged(closed.directory, 31), aged(younger.directory, 29), aged(held.directory, 31)]
    assert tidied(*places) == [False, True, True]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("30 days", 30 * DAY), ("12 h", 43200.0), ("2 weeks", 14 * DAY), ("never", None), ("0", None)],
)
def test_how_long(text, expected):
    assert settings.retention(text) == expected


@pytest.mark.parametrize("text", ["30", "soon", "", "-3 days"])
def test_no_time(text, state):
    with pytest.raises(UsageError, match="keep is "):
        cleaning.tidy(settings.load({"keep": text}))


def test_never(state):
    directory = job(300, standing=over(300))
    cleaning.tidy(settings.load({"keep": "never"}))
    assert directory.exists()


def test_looking_asks_the_batch_system_and_names_what_is_in_doubt(state, monkeypatch):
    ended, silent, runs, unclear = (job(31, (number,), status="0") for number in "1234")
    (unclear / "submitting.1.0").touch()
    (unclear / "status").unlink()
    aged(unclear, 31)
    known = {
        ended.name: Standing(id="1", state=JobState.DONE, final=True, asked=time.time()),
        silent.name: Standing(id="2", silent="Slurm did not answer\nat all"),
        runs.name: Standing(id="3", state=JobState.RUNNING),
        unclear.name: Standing(id="4", state=JobState.FAILED, final=True),
    }
    monkeypatch.setattr(monitor, "look", lambda jobs, _: {each.name: known[each.name] for each in jobs})
    found, kept = cleaning.look(settings.load({}), 30 * DAY)
    assert [(each.directory.name, each.what, each.size > 4000) for each in found] == [
        (ended.name, "job 1 (x, done)", True)
    ]
    assert sorted(kept) == [
        "job 2 (x, pending): Slurm did not answer",
        "job 4 (x, failed): it may have been submitted",
    ]


@pytest.mark.parametrize(("error", "said"), [(BatchError, (True, False)), (UnclearError, (False, True))])
def test_a_submission_that_fails_leaves_why(state, monkeypatch, error, said):
    def fails(*_):
        raise error("no", "try")

    monkeypatch.setattr(attempt, "run_submit", fails)
    with pytest.raises(error):
        handles.submit(BatchJob(command=("true",), name="x"), SYSTEM, options=settings.load({}))
    (directory,) = (state / "jobs").iterdir()
    record = store.read(directory)
    assert (record.refused, record.doubt is not None) == said
    record.add_submission(JobId("8"))
    assert not record.refused and record.doubt is None


# ------------------------------------------------------------------- the command
def clean(*words, status=0, **environ):
    command = [sys.executable, "-m", "mpidask.cli", "clean", *words]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **environ}
    )
    assert done.returncode == status, done
    return done


def test_the_command(state):
    made = [
        handles.submit(BatchJob(command=("sh", "-c", line), name="x"), "local", options=settings.load({}))
        for line in ("exit 0", "sleep 600")
    ]
    made[0].wait(timeout=60)
    refused = job(0, (), refused="")
    assert clean().stdout == "mpidask: 0 B freed\n"
    tried = clean("--dry-run", "--older-than", "0")
    *lines, total = tried.stdout.splitlines()
    lines.sort()
    assert "would remove a submission that failed (x)" in lines[0]
    assert lines[1].startswith(f"would remove job {made[0].id} (x, done), ")
    assert lines[1].endswith(f": {made[0].directory}")
    assert total.endswith(" would be freed")
    assert made[0].directory.exists()
    done = clean("--older-than", "0")
    assert "removed job " in done.stdout
    assert [each.exists() for each in (made[0].directory, refused, made[1].directory)] == [False, False, True]
    made[1].cancel()
    made[1].wait(timeout=60)


def test_wrong_times(state):
    assert "--older-than is '7': which unit?" in clean("--older-than", "7", status=2).stderr
    never = clean(status=2, DASK_MPIDASK__BATCH__KEEP="never")
    assert "mpidask.batch.keep is never" in never.stderr
    assert "mpidask clean --older-than '30 days'" in never.stderr
