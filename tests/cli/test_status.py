"""What `mpidask status` shows: one line for each job, everything for one, values for programs."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

from mpidask.batch import registry, settings
from mpidask.batch.job import BatchJob
from mpidask.batch.job_state import JobId, JobState
from mpidask.batch.records import claims, store
from mpidask.batch.status import Standing
from mpidask.batch.submission import handles
from mpidask.cli import table
from mpidask.run_directory import EXECUTIONS, Progress

pytestmark = pytest.mark.one_mpi

BLANK = {
    "job": "4711",
    "name": "flights",
    "system": "slurm",
    "state": "running",
    "reason": None,
    "exit_status": None,
    "submitted": "2026-11-21T15:00:00+01:00",
    "expected_start": None,
    "started": None,
    "ended": None,
    "elapsed": None,
    "time_left": None,
    "nodes": 2,
    "node_list": None,
    "ranks": 2,
    "workers": None,
    "expected_workers": None,
    "dashboard": None,
    "executions": [{}],
    "directory": "/state/run",
    "log": "/state/run/job.log",
}
RUNNING = {**BLANK, "elapsed": 90061.0, "time_left": 3599.9, "workers": 7, "expected_workers": 16}
WAITS = {
    **BLANK,
    "job": "1234567.pbs",
    "name": "a_long_name_of_a_script",
    "state": "pending",
    "reason": "asks for more nodes than the partition has: it will never start (PartitionNodeLimit)",
}
WIDE = {**BLANK, "name": "模拟模拟", "state": "cancelled", "reason": "cancelled by you\x1b\n  today"}


def test_each_job_has_one_line_of_80_columns():
    from rich.cells import cell_len

    header, running, waits, wide = table.lines([RUNNING, WAITS, WIDE], 80)
    assert header.split() == ["JOB", "NAME", "STATE", "ELAPSED", "LEFT", "WORKERS", "WHY"]
    assert running.split() == ["4711", "flights", "running", "1-1:01:01", "0:59:59", "7/16"]
    assert re.fullmatch(r"1234567\.pbs  a_long_\S*…  pending +asks for more n.*…", waits), waits
    assert max(map(cell_len, (header, running, waits, wide))) <= 80
    assert re.fullmatch(r"4711 +模拟模拟 +cancelled +cancelled by you.*", wide), wide


@pytest.mark.parametrize("wide", [40, 60, 79, 80, 120, 200, None])
def test_what_there_is_no_room_for_is_cut_and_an_id_never(wide):
    from rich.cells import cell_len

    found = table.lines([RUNNING, WAITS], wide)
    assert all(found[2].startswith("1234567.pbs  a_") for _ in found)
    assert all("pending" in line or "running" in line or "STATE" in line for line in found)
    if wide is None or wide == 200:
        assert found[2].endswith(WAITS["reason"])
        assert WAITS["name"] in found[2]
    elif wide >= 80:
        assert max(map(cell_len, found)) <= wide
        assert found[2].endswith("…")


def test_a_name_is_cut_before_a_reason_is():
    reason = "the walltime was reached; the run ended gracefully"
    line = table.lines([{**WAITS, "job": "4711", "name": "climate_of_the_last_century", "reason": reason}], 108)[1]
    assert line.startswith("4711  climate_of_the_l…  pending "), line
    assert line.endswith(f"  {reason}")


@pytest.mark.parametrize("name", ["flights", "held", "模拟模拟"])
def test_the_state_alone_has_a_colour(name):
    """All else is readable on each ground."""
    row = {**WAITS, "name": name, "state": "held", "reason": "held by you"}
    header, line = table.lines([row], 80)
    text = table._coloured(line, header.index("STATE"), "held")
    ((begin, end, style),) = text.spans
    assert (text.plain, line[begin:end], style) == (line, "held", "black on yellow")
    assert begin > line.index(name)


def test_the_ellipsis_is_one_that_can_be_printed():
    assert table.lines([WAITS], 80, "...")[1].endswith("...")


def test_one_job_is_shown_whole():
    again = [{"id": "4709", "submitted": "2026-11-21T14:00:00+01:00", "exit_status": 75}, {}]
    shown = table.details({**WAITS, "node_list": ["n1", "n2"], "executions": again})
    assert shown[0] == "job 1234567.pbs (a_long_name_of_a_script) on slurm: pending"
    assert f"  why        {WAITS['reason']}" in shown
    assert "  nodes      n1, n2" in shown
    assert "  log        /state/run/job.log" in shown
    assert shown[-1] == "  before     4709, submitted 2026-11-21 14:00:00, exit status 75"
    lost = table.details({**WAITS, "node_list": None, "executions": [{**again[0], "exit_status": None}, {}]})
    assert lost[-1] == "  before     4709, submitted 2026-11-21 14:00:00, no exit status"


def record_of(tmp_path, **more):
    job = BatchJob(command=("python", "-m", "mpidask", "x.py"), name="x")
    from mpidask.batch.systems.slurm import SYSTEM

    record, _ = store.create(job, SYSTEM, str(tmp_path))
    for job_id in more.get("ids", ["7"]):
        record.add_submission(JobId(job_id))
    return record


def moment(text):
    found = datetime.fromisoformat(text)
    assert found.tzinfo is not None, text
    return found.timestamp()


def test_times_are_points_with_a_zone_and_durations_in_seconds(tmp_path):
    record = record_of(tmp_path)
    start = datetime.fromtimestamp(time.time() + 2).isoformat(timespec="seconds")  # noqa: DTZ006 - local time
    pending = table.row(record, Standing(id="7", start=start))
    assert abs(moment(pending["submitted"]) - time.time()) < 30
    assert moment(pending["expected_start"]) == datetime.fromisoformat(start).timestamp()
    assert [pending[key] for key in ("started", "ended", "elapsed")] == [None, None, None]

    began = time.time() - 10
    Progress(3, 4, ends=began + 60, dashboard="/x/status", host="n1", nodes=["n1", "n2"], began=began).write(
        str(record.directory)
    )
    (record.directory / EXECUTIONS).write_text(f"0 {int(began)}\n")
    running = table.row(record, Standing(id="7", state=JobState.RUNNING))
    assert moment(running["started"]) == int(began)
    assert 9 < running["elapsed"] < 40
    assert running["node_list"] == ["n1", "n2"]
    assert (running["dashboard"], running["dashboard_host"]) == ("/x/status", "n1")
    assert (running["workers"], running["ended"]) == (3, None)
    waits_again = table.row(record, Standing(id="7", state=JobState.PENDING, reason="preempted once"))
    assert (waits_again["node_list"], waits_again["workers"]) == (None, None)

    (record.directory / "status").write_text("3\n")
    os.utime(record.directory / "status", (began + 5, began + 5))
    ended = table.row(record, Standing(id="7", state=JobState.FAILED, exit_status=3))
    assert (moment(ended["ended"]), ended["elapsed"], ended["dashboard"]) == (int(began + 5), 5.0, None)
    expected = {"id": "7", "exit_status": 3, **{key: ended[key] for key in ("submitted", "started", "ended")}}
    assert ended["executions"] == [expected]
    json.dumps(ended)


def test_a_job_that_submitted_itself_again_has_an_execution_for_each(tmp_path):
    record = record_of(tmp_path, ids=["7", "8"])
    found = table.row(record, Standing(id="8", state=JobState.HELD))
    assert [each["id"] for each in found["executions"]] == ["7", "8"]
    assert found["executions"][0]["exit_status"] == 75
    assert found["executions"][0]["ended"] == found["executions"][1]["submitted"] == found["submitted"]


def test_what_an_earlier_execution_has_left_is_not_told_of_the_current_one(tmp_path):
    record = record_of(tmp_path)
    Progress(3, 4, nodes=["n1"], began=time.time() - 5000).write(str(record.directory))
    found = table.row(record, Standing(id="7", state=JobState.RUNNING))
    assert (found["node_list"], found["started"], found["workers"]) == (None, None, None)


def test_an_estimate_that_did_not_come_true_is_no_start(tmp_path):
    record = record_of(tmp_path)
    later = datetime.fromtimestamp(time.time() + 3600).isoformat()  # noqa: DTZ006 - local time
    found = table.row(record, Standing(id="7", state=JobState.CANCELLED, start=later, asked=time.time()))
    assert (found["started"], found["elapsed"]) == (None, None)
    assert found["ended"] is not None


# ------------------------------------------------------------------- the command
@pytest.fixture
def here(tmp_path, monkeypatch):
    """A state directory with three jobs of this machine: done, failed, cancelled."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("COLUMNS", raising=False)
    options = settings.load({})
    words = {"done": "exit 0", "a_job_with_a_name_that_is_long": "echo words; exit 3", "cancelled": "sleep 100"}
    made = [
        handles.submit(BatchJob(command=("sh", "-c", line), name=name), "local", options=options)
        for name, line in words.items()
    ]
    made[2].cancel()
    for handle in made:
        handle.wait(timeout=60)
    return made


def mpidask(*words, env=None):
    """Run the command with just these variables: readline, which pytest loads, sets COLUMNS behind Python's back."""
    command = [sys.executable, "-m", "mpidask.cli", *words]
    env = dict(os.environ) if env is None else env
    return subprocess.run(command, capture_output=True, text=True, timeout=180, check=False, env=env)


def on_terminal(columns, *words):
    """Return what a command prints on a terminal of that width, without its colours."""
    ours, its = pty.openpty()
    command = ["sh", "-c", f'stty columns {columns}; exec "$@"', "sh", sys.executable, "-m", "mpidask.cli", *words]
    process = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=dict(os.environ))
    os.close(its)
    text = b""
    while True:
        try:
            text += os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
    os.close(ours)
    assert process.wait(60) == 0, text
    return re.sub(r"\x1b\[[\d;]*m", "", text.decode()).replace("\r", "").splitlines()


def test_the_command(here):
    (done, failed, cancelled) = here
    lines = mpidask("status").stdout.splitlines()
    assert len(lines) == 4, "piped: nothing is cut, no logs"
    assert "a_job_with_a_name_that_is_long" in lines[2]
    assert lines[2].endswith("exit status 3")
    assert re.search(rf"^{cancelled.id}  cancelled +cancelled .*cancelled by you$", lines[3]), lines
    narrow = on_terminal(70, "status")
    assert len(narrow) == 4
    assert max(map(len, narrow)) <= 70
    assert narrow[2].split()[1].endswith("…"), narrow
    by_variable = mpidask("status", env={**os.environ, "COLUMNS": "70"}).stdout.splitlines()
    assert by_variable == narrow
    shown = mpidask("status", failed.id).stdout
    assert f"  log        {failed.directory}/job.log\n" in shown, shown
    assert "\n  words\n" in shown, "the end of its log"
    values = {each["job"]: each for each in json.loads(mpidask("status", "--json").stdout)}
    assert [values[each.id]["state"] for each in here] == ["done", "failed", "cancelled"]
    assert all(moment(each["ended"]) for each in values.values())
    assert values[done.id]["executions"][0]["exit_status"] == 0
    assert Path(values[done.id]["log"]).name == "job.log"
    wait = mpidask("logs", "--follow", cancelled.id)
    assert wait.returncode != 0
    assert f"job {cancelled.id} was cancelled by you" in wait.stderr, wait
    assert wait.stderr.count(cancelled.id) == 1, "its end is said once"


def test_a_job_whose_submission_was_not_answered_is_said_to_be_so_and_not_cancelled_without_an_id(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    record, _ = store.create(BatchJob(command=("true",), name="x"), registry.find("local"), None)
    record.claim(()).settle(claims.Outcome.UNCLEAR)
    told = mpidask("status")
    assert "unclear" in told.stdout and "may have been submitted" in told.stdout, told
    done = mpidask("cancel", record.name)
    assert done.returncode == 69, done
    assert f"job {record.name} may have been submitted" in done.stderr, done
