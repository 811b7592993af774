"""What is made of what batch systems say and of what jobs leave (pure)."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from mpidask.batch.commands import runner
from mpidask.batch.job_state import JobId, JobState, Report
from mpidask.batch.queries import monitor
from mpidask.batch.queries.questions import parse_answer
from mpidask.batch.status import Evidence, Standing, judge
from mpidask.batch.systems import pbs, sge, torque
from mpidask.batch.systems.slurm import SYSTEM

RECORDED = Path(__file__).parent / "recorded"

RUNNING = Report(id="7", state=JobState.RUNNING, native="R")
SUBMITTED = 1000.0


def evidence(now=SUBMITTED + 100, report=None, **more):
    return Evidence(now=now, submitted=SUBMITTED, report=report, **more)


def report(native, reason=None, status=None):
    return Report(id="7", state=SYSTEM.state(native), native=native, reason=reason, exit_status=status)


SEEN = judge(SYSTEM, Standing(id="7"), evidence(SUBMITTED + 5, RUNNING))


AGAIN = "requeued once; waits to run again"


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        # The script has ended by itself: its status counts, whatever the batch system says by now.
        ({"exited": 0, "report": RUNNING}, ("done", 0, None, True)),
        ({"exited": 0, "report": RUNNING, "exited_at": SUBMITTED + 99}, ("done", 0, None, False)),
        ({"exited": 0}, ("done", 0, None, True)),
        ({"exited": 3, "report": report("F", "NonZeroExitCode", 3)}, ("failed", 3, None, True)),
        ({"exited": 75}, ("failed", 75, "the walltime was reached; the run ended gracefully", True)),
        # The batch system knows better why a script was ended.
        ({"exited": 143, "report": report("TO", "TimeLimit", 0)}, ("failed", 143, "the walltime was reached", True)),
        ({"exited": 15, "report": report("CA", None, 15)}, ("cancelled", None, "cancelled", True)),
        ({"exited": 15, "cancelled": True}, ("cancelled", None, "cancelled by you", True)),
        (
            {"exited": 137, "log": "slurmstepd: error: Exceeded job memory limit"},
            ("failed", 137, "out of memory", True),
        ),
        ({"exited": 143}, ("failed", 143, "killed by signal 15", True)),
        ({"exited": 15, "report": report("CANCELLED", "by 0")}, ("cancelled", None, "cancelled by root", True)),
        (
            {"exited": 143, "log": "slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT ***"},
            ("cancelled", None, "cancelled", True),
        ),
        ({"exited": 0, "cancelled": True, "report": report("CA")}, ("done", 0, None, True)),
        # It may say so a moment later.
        (
            {"exited": 143, "report": RUNNING, "exited_at": SUBMITTED + 99},
            ("failed", 143, "killed by signal 15", False),
        ),
        ({"exited": 3, "report": RUNNING, "exited_at": SUBMITTED + 80}, ("failed", 3, None, True)),
        # Or it runs the job again.
        (
            {"exited": 143, "report": RUNNING, "exited_at": SUBMITTED + 80},
            ("failed", 143, "killed by signal 15", False),
        ),
        (
            {"exited": 143, "report": RUNNING, "exited_at": SUBMITTED - 300},
            ("failed", 143, "killed by signal 15", True),
        ),
        # The script has left nothing.
        ({"report": report("NF", "NodeDown", 1)}, ("failed", 1, "a node failed", True)),
        ({"report": report("TO", "TimeLimit", 0)}, ("failed", None, "the walltime was reached", True)),
        ({"report": report("CA", None, 0)}, ("cancelled", None, "cancelled", True)),
        ({"report": report("CD", None, 0)}, ("done", 0, None, True)),
        (
            {"report": report("PD", "Priority"), "execution": 0},
            ("pending", None, f"{AGAIN}: other jobs come first (Priority)", False),
        ),
        ({"report": report("PD", "NewWord"), "execution": 0}, ("pending", None, f"{AGAIN}: NewWord", False)),
        ({"report": report("XX")}, ("unknown", None, "Slurm says 'XX'", False)),
        ({}, ("running", None, None, False)),
    ],
)
def test_a_job_that_ran(told, expected):
    after = judge(SYSTEM, SEEN, evidence(**told))
    assert (after.state.value, after.exit_status, after.reason, after.final) == expected
    assert Standing.from_json(after.to_json()) == after


def test_a_job_that_left_without_a_word():
    gone = judge(SYSTEM, SEEN, evidence(SUBMITTED + 100))
    assert (gone.state, gone.final) == (JobState.RUNNING, False), "its status may come a moment later"
    back = judge(SYSTEM, gone, evidence(SUBMITTED + 105, RUNNING))
    assert back.absent is None
    lost = judge(SYSTEM, gone, evidence(SUBMITTED + 120))
    assert (lost.state, lost.final, lost.exit_status) == (JobState.FAILED, True, None)
    assert "killed or cancelled, or its node was lost" in lost.reason


def test_a_system_that_says_only_that_it_is_gone():
    """As Torque's commands for Slurm: C for all that have ended."""
    over = dataclasses.replace(RUNNING, state=JobState.DONE, native="C")
    first = judge(SYSTEM, SEEN, evidence(report=over))
    assert (first.state, first.final) == (JobState.RUNNING, False)
    later = judge(SYSTEM, first, evidence(SUBMITTED + 120, report=over))
    assert (later.state, later.final) == (JobState.FAILED, True)
    assert judge(SYSTEM, first, evidence(SUBMITTED + 101, report=over, exited=0)).state is JobState.DONE


def test_a_job_that_has_just_been_submitted_may_not_be_listed_yet():
    fresh = Standing(id="7")
    assert judge(SYSTEM, fresh, evidence(SUBMITTED + 5)).reason == "just submitted"
    routed = judge(SYSTEM, fresh, evidence(SUBMITTED + 60))
    assert (routed.state, routed.reason) == (JobState.PENDING, "submitted; Slurm does not list it yet")
    vanished = judge(SYSTEM, routed, evidence(SUBMITTED + 601))
    assert judge(SYSTEM, vanished, evidence(SUBMITTED + 620)).state is JobState.FAILED


def test_a_job_that_the_question_was_not_about_has_not_ended():
    """As those of another account, which the list of the user's jobs does not show."""
    before = Standing(id="7")
    for age in (601, 620, 86400):
        before = judge(SYSTEM, before, evidence(SUBMITTED + age, covered=False))
    assert (before.state, before.final) == (JobState.UNKNOWN, False)
    assert "does not list it" in before.reason
    vanished = judge(SYSTEM, SEEN, evidence(SUBMITTED + 100, covered=False))
    assert judge(SYSTEM, vanished, evidence(SUBMITTED + 120, covered=False)).final, "it was listed before"


def test_a_job_that_is_at_work_has_not_ended_whatever_is_listed():
    vanished = judge(SYSTEM, SEEN, evidence(SUBMITTED + 100))
    for age in (120, 200, 300):
        works = judge(SYSTEM, vanished, evidence(SUBMITTED + age, moved_at=SUBMITTED + age - 10))
        assert (works.state, works.final) == (JobState.RUNNING, False)
        assert "it is at work" in works.reason
    assert judge(SYSTEM, works, evidence(SUBMITTED + 400, moved_at=SUBMITTED + 290)).state is JobState.FAILED


def test_a_live_report_outranks_what_an_earlier_execution_has_left():
    log = "slurmstepd: error: *** JOB 7 ON mn1 CANCELLED AT 2026-11-27T01:00:00 DUE TO PREEMPTION ***"
    left = {"exited": 143, "exited_at": SUBMITTED + 90, "exited_before": True, "execution": 0}
    again = report("PD", "BeginTime")
    waits = judge(SYSTEM, SEEN, evidence(report=again, log=log, **left))
    assert (waits.state, waits.exit_status, waits.final) == (JobState.PENDING, None, False)
    assert waits.reason == "preempted once; waits to run again: waits until its begin time (BeginTime)"
    # It runs, and its script has not begun yet; then it has.
    starts = dataclasses.replace(RUNNING, restarts=1)
    assert judge(SYSTEM, waits, evidence(report=starts, **left)).state is JobState.RUNNING
    runs = judge(SYSTEM, waits, evidence(report=starts, execution=1))
    assert (runs.state, runs.reason, runs.restarts) == (JobState.RUNNING, None, 1)
    # Or it is cancelled while it waits: that its first execution ended well says nothing.
    gone = {"exited": 0, "execution": 0, "cancelled": True}
    for told in (dataclasses.replace(report("CA"), restarts=1), None):
        over = judge(
            SYSTEM, judge(SYSTEM, waits, evidence(report=told, **gone)), evidence(SUBMITTED + 120, told, **gone)
        )
        assert (over.state, over.exit_status, over.reason) == (JobState.CANCELLED, None, "cancelled by you")
    # A second time; nothing tells that it was preempted but what was known before.
    left |= {"execution": 1, "exited_at": SUBMITTED + 99}
    twice = judge(SYSTEM, runs, evidence(report=report("PD", "Priority"), **left))
    assert twice.reason == "preempted twice; waits to run again: other jobs come first (Priority)"
    over = judge(SYSTEM, twice, evidence(report=report("CD", None, 0), exited=0, execution=2))
    assert (over.state, over.final) == (JobState.DONE, True)


def test_a_script_that_has_ended_while_the_batch_system_was_asked_has_ended():
    over = judge(SYSTEM, SEEN, evidence(report=report("PD", "Priority"), exited=0, exited_at=SUBMITTED + 100))
    assert over.state is JobState.DONE


def test_a_job_that_is_cancelled_before_it_is_listed_has_ended():
    """A job on this machine may be gone before it could leave an exit status."""
    first = judge(SYSTEM, Standing(id="7"), evidence(SUBMITTED + 1, cancelled=True))
    assert not first.final
    later = judge(SYSTEM, first, evidence(SUBMITTED + 15, cancelled=True))
    assert (later.state, later.reason, later.final) == (JobState.CANCELLED, "cancelled by you", True)


def test_a_requeued_job_waits_again():
    waits = judge(SYSTEM, SEEN, evidence(report=report("PD", "BeginTime")))
    assert (waits.state, waits.final) == (JobState.PENDING, False)


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        ("7", "cancelled"),
        ("8", "cancelled by root@pbshead"),
        ("9", "cancelled"),
        ("10", "cancelled by tester@pbshead"),
    ],
)
@pytest.mark.parametrize("exited", [None, 15, 143, 255])
def test_a_job_of_pbs_that_somebody_has_deleted(number, reason, exited):
    """Whether it waited or ran, at once, without what PBS writes for its accounting."""
    text = (RECORDED / "pbs/history.txt").read_text().partition("\n")[2]
    report = parse_answer(pbs.SYSTEM, pbs.SYSTEM.history, text)[0][f"{number}.pbshead"]
    after = judge(pbs.SYSTEM, SEEN, evidence(report=report, exited=exited))
    assert (after.state, after.exit_status, after.reason, after.final) == (JobState.CANCELLED, None, reason, True)


LISTED = {
    "ended": "7|NF|NodeDown|2026-11-21T08:18:33|1|0|\n",
    "waits to run again": "7|PD|BeginTime|2026-11-21T08:18:33|0|1|\n",
}


@pytest.mark.parametrize(
    ("listed", "down", "reason"),
    [
        ("ended", "n3\nn2\n", "node n2.site.org was lost"),
        ("ended", "n1\nn2\n", "nodes n1.site.org, n2.site.org were lost"),
        ("ended", "n3\n", "a node failed"),
        ("waits to run again", "n2\n", "requeued once, as node n2.site.org was lost; waits to run again: "),
        ("waits to run again", "", "requeued once; waits to run again: "),
    ],
)
def test_the_node_that_was_lost_is_named(listed, down, reason, monkeypatch):
    asked = []

    def run(command, **_):
        asked.append(command.argv[0])
        return runner.Output(command, 0, down if command.argv[0] == "sinfo" else LISTED[listed], "")

    monkeypatch.setattr(runner, "run", run)
    job = Watched(identity=JobId("7"), standing=SEEN, hosts=["n1.site.org", "n2.site.org"])
    (standing,) = monitor.judge_all(SYSTEM, [job], 0)
    assert standing.reason.startswith(reason)
    job.standing = Standing.from_json(standing.to_json())
    (later,) = monitor.judge_all(SYSTEM, [job], 0)
    assert later.reason.startswith(reason)
    assert asked.count("sinfo") == (2 if listed == "ended" else 1)


def test_the_output_names_the_node_that_was_lost_also_when_it_is_up_again(monkeypatch):
    monkeypatch.setattr(runner, "run", lambda command, **_: runner.Output(command, 0, LISTED["ended"], ""))
    printed = "computed\nsrun: error: Node failure on n2\nsrun: error: Node failure on n2\n"
    job = Watched(identity=JobId("7"), standing=SEEN, hosts=["n1", "n2"], tail=printed)
    (standing,) = monitor.judge_all(SYSTEM, [job], 0)
    assert standing.reason == "node n2 was lost"


PBS_LISTED = "Job Id: 7.pbs\n    job_state = {}\n    run_count = 1\n    comment = {}\n"
SGE_LISTED = "<job_list state='x'><JB_job_number>7</JB_job_number><state>{}</state>{}</job_list></job_info></job_info>"


@pytest.mark.parametrize(
    ("batch", "listed", "runs", "waits"),
    [
        (pbs.SYSTEM, PBS_LISTED, ("R", "-"), ("Q", "Not Running: Not enough free nodes available")),
        (sge.SYSTEM, SGE_LISTED, ("r", ""), ("Rq", "")),
    ],
)
@pytest.mark.parametrize("execution", [0, None])
def test_a_job_that_waits_again_was_interrupted(batch, listed, runs, waits, execution, monkeypatch):
    """Also where the batch system counts starts only, or nothing: and the nodes that are down now tell why.

    A start that did not reach the script is none: the job's exit status would be taken for that of an earlier one.
    """
    nodes = (RECORDED / batch.name / "down.txt").read_text().partition("\n")[2]
    answers = {batch.down.command.split()[0]: nodes, "qstat": listed.format(*runs)}
    monkeypatch.setattr(runner, "run", lambda command, **_: runner.Output(command, 0, answers[command.argv[0]], ""))
    job = Watched(
        identity=JobId("7.pbs" if batch is pbs.SYSTEM else "7"),
        standing=Standing(id="7"),
        hosts=["n2", "mn4"],
        execution=execution,
    )
    (job.standing,) = monitor.judge_all(batch, [job], 0)
    assert (job.standing.state, job.standing.restarts) == (JobState.RUNNING, 0)
    answers["qstat"] = listed.format(*waits)
    for _ in range(2):
        (job.standing,) = monitor.judge_all(batch, [job], 0)
        assert (job.standing.state, job.standing.restarts) == (JobState.PENDING, 0 if execution is None else 1)
        lost = "n2" if batch is pbs.SYSTEM else "mn4"
        if execution is None:
            assert "requeued" not in (job.standing.reason or "")
            continue
        assert job.standing.reason.startswith(f"requeued once, as node {lost} was lost; waits to run again")
    job.execution, job.exited = 0 if execution is None else 1, 0  # it ran meanwhile
    answers["qstat"] = listed.format("", "").partition("<job_list")[0] if batch is sge.SYSTEM else ""
    (job.standing,) = monitor.judge_all(batch, [job], 0)
    assert (job.standing.state, job.standing.exit_status) == (JobState.DONE, 0)


@pytest.mark.parametrize(
    ("file", "job", "state", "reason"),
    [
        ("crashed", "177", JobState.FAILED, "node mn3 was lost"),
        ("forced", "179", JobState.CANCELLED, "cancelled by force (qdel -f), without an answer of its node"),
        ("killed", "8", JobState.FAILED, "killed by a signal"),
        ("walltime", "9", JobState.FAILED, "the walltime (h_rt) was reached, or a limit on CPU time or memory"),
    ],
)
def test_how_a_job_of_grid_engine_has_ended(file, job, state, reason, monkeypatch):
    history = (RECORDED / f"sge/history-{file}.txt").read_text().partition("\n")[2]
    answers = {"qacct": history, "qstat": "<job_info></job_info>\n</job_info>", "qhost": ""}
    monkeypatch.setattr(runner, "run", lambda command, **_: runner.Output(command, 0, answers[command.argv[0]], ""))
    (after,) = monitor.judge_all(sge.SYSTEM, [Watched(identity=JobId(job), standing=Standing(id=job, native="r"))], 0)
    assert (after.state, after.reason, after.final) == (state, reason, True)


class Watched(SimpleNamespace):
    """A job that was submitted long ago and has left nothing."""

    submitted = exited_at = moved_at = 0.0
    execution = exited = None
    hosts = ()
    tail = ""
    system_log = ""
    cancelled = cancel_asked = False


@pytest.mark.parametrize("status", [0, 153])
def test_a_server_without_history_says_nothing_of_jobs(status, monkeypatch):
    """As a fresh OpenPBS: of those that run, and of those that have ended."""
    asked = []

    def run(command, **_):
        asked.append(command.argv)
        if "-x" in command.argv:
            told = (status, "", f"qstat: PBS is not configured to maintain job history {command.argv[-1]}\n")
        elif command.argv[-1] == "1.pbs":
            told = (0, "Job Id: 1.pbs\n    job_state = R\n", "")
        else:
            told = (153, "", f"qstat: Unknown Job Id {command.argv[-1]}\n")
        return runner.Output(command, *told)

    monkeypatch.setattr(runner, "run", run)
    runs = Watched(identity=JobId("1.pbs"), standing=SEEN)
    (standing,) = monitor.judge_all(pbs.SYSTEM, [runs], 0)
    assert standing.state is JobState.RUNNING
    assert asked == [("qstat", "-f", "1.pbs")]
    gone = Watched(identity=JobId("2.pbs"), standing=dataclasses.replace(SEEN, id="2.pbs"))
    (standing,) = monitor.judge_all(pbs.SYSTEM, [gone], 0)
    assert (standing.state, standing.final) == (JobState.RUNNING, False), "its status may come a moment later"
    assert asked[1:] == [("qstat", "-f", "2.pbs"), ("qstat", "-x", "-f", "2.pbs")]
    gone.standing = dataclasses.replace(standing, absent=time.time() - 60)
    (standing,) = monitor.judge_all(pbs.SYSTEM, [gone], 0)
    assert (standing.state, standing.final) == (JobState.FAILED, True)


@pytest.mark.parametrize(
    ("facts", "log"),
    [
        (SYSTEM, "slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-11-27T01:00:00 DUE TO JOB REQUEUE ***"),
        (pbs.SYSTEM, "Job terminated with exit status 1"),
        (pbs.SYSTEM, "=>> PBS: job killed: walltime 60 exceeded limit 30"),
    ],
)
def test_what_is_printed_explains_no_end_that_the_script_has_told(facts, log):
    """The log may hold lines of an earlier execution, or of the job itself."""
    standing = judge(facts, SEEN, evidence(exited=1, log=log))
    assert (standing.state, standing.exit_status) == (JobState.FAILED, 1)


def test_only_the_systems_own_lines_explain_an_end():
    killed = judge(pbs.SYSTEM, SEEN, evidence(exited=137, log="site epilogue: job terminated, out of memory? no"))
    assert (killed.state, killed.reason) == (JobState.FAILED, "killed by signal 9")
    killed = judge(pbs.SYSTEM, SEEN, evidence(exited=137, log="x\n=>> PBS: job killed: mem 9kb exceeded limit 8kb\ny"))
    assert killed.reason == "out of memory"


def test_a_qstat_that_indents_every_line_folds_none():
    """Slurm's own, for those who are used to Torque's; PBS folds long lines in the same way."""
    text = "Job Id: 124\n\tJob_Name = words\n\tjob_state = R\n\tcomment = Not Running: too\n\tmany jobs\n"
    (told,) = parse_answer(torque.SYSTEM, torque.SYSTEM.status, text)[0].values()
    assert (told.id, told.state, told.reason) == ("124", JobState.RUNNING, "Not Running: toomany jobs")


def test_a_job_that_began_has_ended_where_only_a_list_can_be_asked_and_has_it_not():
    """Grid Engine lists the jobs that wait and run; nobody has looked while this one ran."""
    before = judge(sge.SYSTEM, Standing(id="7"), evidence(execution=0, covered=False))
    later = judge(sge.SYSTEM, before, evidence(SUBMITTED + 200, execution=0, covered=False))
    assert (later.state, later.final) == (JobState.FAILED, True)
    never = judge(sge.SYSTEM, dataclasses.replace(before, absent=SUBMITTED), evidence(SUBMITTED + 2000, covered=False))
    assert never.state is JobState.UNKNOWN


def test_where_answers_are_copies_of_earlier_ones():
    """As where a site keeps qstat's: a job that it does not list has begun, or has ended well where it lists it as waiting."""
    known = judge(pbs.SYSTEM, Standing(id="7"), evidence(SUBMITTED + 9, execution=0, moved_at=SUBMITTED + 6))
    for now in (25, 35):
        known = judge(pbs.SYSTEM, known, evidence(SUBMITTED + now, execution=0, moved_at=SUBMITTED + 6))
        assert (known.state, known.final) == (JobState.RUNNING, False) if now == 25 else (JobState.FAILED, True)
    waits = Report(id="7", state=JobState.PENDING, native="Q")
    left = {"exited": 0, "exited_at": SUBMITTED + 20, "exited_before": True, "execution": 0}
    done = judge(pbs.SYSTEM, Standing(id="7"), evidence(report=waits, **left))
    assert (done.state, done.exit_status, done.restarts) == (JobState.DONE, 0, 0)
    done = judge(pbs.SYSTEM, done, evidence(SUBMITTED + 200, **left))
    assert (done.state, done.final) == (JobState.DONE, True)


def test_a_node_that_cannot_write_the_jobs_output():
    failed = judge(SYSTEM, SEEN, evidence(report=report("F", "RaisedSignal:53(Real-time_signal_19)", 181)))
    assert "its output file could not be made on the node" in failed.reason


def test_a_job_that_is_cancelled_while_it_waits_to_run_again_is_cancelled():
    """What its first execution left, before, does not speak against it."""
    again = Report(id="7", state=JobState.PENDING, native="PD", restarts=1)
    left = {"exited": 1, "execution": 0, "exited_before": True, "cancel_asked": True}
    waits = judge(SYSTEM, SEEN, evidence(report=again, **left))
    gone = Report(id="7", state=JobState.CANCELLED, native="CA", restarts=1)
    over = judge(SYSTEM, waits, evidence(report=gone, **left))
    assert (over.state, over.exit_status, over.reason) == (JobState.CANCELLED, None, "cancelled by you")
