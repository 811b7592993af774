"""`mpidask doctor --submit` on this machine: it is bounded, and says which jobs it leaves."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
import uuid
from types import SimpleNamespace

import pytest
from harness import PATIENCE, SETTINGS, pids, read

from mpidask import run_directory
from mpidask.doctor import command, job, submission, time_limit
from mpidask.doctor.report import Report
from mpidask.errors import BatchError

pytestmark = pytest.mark.one_mpi


def doctor(directory, *words, timeout=60, **environ):
    command = [sys.executable, "-m", "mpidask", "doctor", "--submit", "--state-directory", directory, *words]
    given = {**os.environ, **SETTINGS, **environ}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=timeout * PATIENCE, env=given, check=False, cwd=directory
    )


@pytest.mark.thorough
@pytest.mark.slow("a job that starts late, and one that is cancelled")
def test_a_job_of_this_machine_goes_on_when_the_doctor_has_ended(tmp_path):
    late = f"mkdir {tmp_path}/first 2>/dev/null && sleep 25 || true"  # not the job that is cancelled
    words = ("--system", "local", "--prologue", late, "--time-limit", "3min", "--probe", "limits.open_files")
    done = doctor(tmp_path, *words, "--patience", "0.1s")
    assert done.returncode == 0, done
    assert "ok       submit           job " in done.stdout, done
    assert "ok       cancel           job " in done.stdout, done
    again = f"mpidask doctor --submit --state-directory {tmp_path} {shlex.join(words)} --patience 10min"
    assert f"or wait longer: {again}" in done.stdout, done
    deadline = time.monotonic() + 60 * PATIENCE
    while not list(tmp_path.rglob(submission.FILE)):
        assert time.monotonic() < deadline, "it has ended with the doctor"
        time.sleep(0.2)


def test_a_batch_system_that_hangs_is_given_up(tmp_path):
    mark = f"600.{uuid.uuid4().int % 10**9}"
    systems = repr({"stuck": {"like": "local", "submit": f"sleep {mark} {{walltime:seconds}}"}})
    words = ("--system", "stuck", "--patience", "1s", "--time-limit", "6s", "--probe", "limits.open_files")
    done = doctor(tmp_path, *words, timeout=15, DASK_MPIDASK__BATCH__SYSTEMS=systems)
    assert done.returncode == 1, done
    assert "failure  submit           the trial of the batch system took more than " in done.stdout, done
    assert not [pid for pid in pids() if mark in read(pid, "cmdline")]


def test_how_long_all_may_take(monkeypatch):
    monkeypatch.setattr(time_limit, "share", lambda seconds: seconds)
    assert job._allowed(20.0, 8.0) == 52.0, "a minute in all"
    assert job._allowed(20.0, 55.0) == 10.0, "the batch system gets a little"
    assert job._allowed(600.0, 10.0) == 630.0, "the user is patient"


def test_the_same_command_line_with_more_patience():
    words = ["--submit", "-N", "2", "--patience", "1min", "--account", "abc 1"]
    assert job.longer(words, 60.0) == "mpidask doctor --submit -N 2 --account 'abc 1' --patience 10min"
    assert job.longer(["--patience=20min", "--submit"], 1200.0) == "mpidask doctor --submit --patience 40min"


def test_jobs_that_are_left_are_named():
    printed = '["Job", {"title": "7", "is_left": true}]\n["Job", {"title": "8", "is_left": true}]\n'
    assert job._left(f'{printed}["Job", {{"title": "7", "is_left": false}}]\n["Fin') == ["mpidask cancel 8"]
    found = job._unfinished(30.0, None, "", printed)
    assert found.remedy.startswith("mpidask cancel 7\nmpidask cancel 8\n")


def test_a_run_directory_that_is_full_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(run_directory.DIRECTORY, str(tmp_path / "gone"))
    command._leave(Report("here", (), 1.0))
    said = capsys.readouterr().err
    assert said == f"mpidask: these findings cannot be left in {tmp_path}/gone/doctor.json: No such file or directory\n"


def test_a_job_that_cannot_be_cancelled_is_said():
    def refuse():
        raise BatchError("it refuses", "ask it")

    found = submission._cancel(SimpleNamespace(title="7", cancel=refuse))
    assert (found.what, found.remedy) == ("it refuses", "ask it\nmpidask cancel 7")
