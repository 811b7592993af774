"""A job is known by its id and by where it was submitted; what is asked about it is asked there."""

from __future__ import annotations

import dataclasses
import errno
import os
import pwd

import pytest

from mpidask.batch import leases, registry
from mpidask.batch.commands import runner
from mpidask.batch.commands.command import Command
from mpidask.batch.commands.runner import Output
from mpidask.batch.job_state import JobId, JobState
from mpidask.batch.queries import monitor
from mpidask.batch.queries.questions import cancel_command, cancel_commands, match_ids, parse_answer, query_commands
from mpidask.batch.records import record as records
from mpidask.batch.records import store
from mpidask.batch.scripts.submit_command import chosen_destination, job_script
from mpidask.batch.status import Standing
from mpidask.batch.submission import attempt, cancellation
from mpidask.errors import BatchError

pytestmark = pytest.mark.one_mpi

SLURM, CONDOR, PBS, SGE = (registry.find(name) for name in ("slurm", "htcondor", "pbs", "sge"))


def where(system, words=(), lines=(), environ=None, output="100"):
    script = "\n".join(["#!/bin/bash", *(f"{system.directive} {line}" for line in lines), "", "date", "#SBATCH -M no"])
    command = Command(argv=(system.submit.split()[0], *words, "job.sh"))
    return chosen_destination(system, command, script, environ or {}, output)


@pytest.mark.parametrize(
    "told",
    [
        {"words": ["--clusters=far"]},
        {"words": ["-M", "far"], "lines": ["--clusters=near"]},
        {"lines": ["-J x", "-Mfar"]},
        {"lines": ["--clusters far  # the big one"]},
        {"environ": {"SBATCH_CLUSTERS": "far", "SLURM_CLUSTERS": "near"}, "lines": ["-M near"]},
        {"lines": ["--clusters=near,far"], "output": "100;far"},
        {"output": "Submitted batch job 100 on cluster far"},
    ],
)
def test_a_cluster_of_slurm_is_known_however_it_was_chosen(told):
    assert where(SLURM, **told) == ("far",)


def test_a_job_that_was_submitted_here_is_at_no_place():
    assert where(SLURM, ["--mem=1G"], ["-J name"]) == ()
    assert where(PBS) == ()


def test_the_queue_and_the_pool_of_htcondor_are_known():
    assert where(CONDOR, ["-name", "far"]) == ("far", "")
    assert where(CONDOR, ["-remote", "far", "-pool", "other"]) == ("far", "other")


@pytest.mark.parametrize(
    ("batch", "place", "words", "here"),
    [
        (SLURM, ("far",), ["--clusters=far"], ["--federation"]),
        (CONDOR, ("far", "x"), ["-name", "far", "-pool", "x"], []),
    ],
)
def test_questions_and_cancellations_name_the_place(batch, place, words, here):
    for query in filter(None, (batch.status, batch.missed, batch.history)):
        for at, expected in ((place, words), ((), here)):
            (question,) = query_commands(batch, query, ["100"], at)
            assert list(question.argv[1 : 1 + len(expected)]) == expected
            assert question.without == batch.ignored
    assert list(cancel_command(batch, ["100"], place).argv[1 : 1 + len(words)]) == words
    assert list(cancel_command(batch, ["100"]).argv[1:]) == ["100"]
    # What the user gives for it is not said twice.
    assert list(cancel_command(batch, ["100"], place, words).argv) == [batch.cancel.split()[0], *words, "100"]


FLUX = registry.find("flux")


@pytest.mark.parametrize(
    ("batch", "environ", "place"),
    [
        (SGE, {"SGE_CELL": "prod"}, "SGE_CELL=prod"),
        (FLUX, {"FLUX_URI": "local:///a"}, "FLUX_URI=local:///a"),
        (FLUX, {"FLUX_URI": "local:///a", "MPIDASK_FLUX_URI": "ssh://n1/b"}, "FLUX_URI=ssh://n1/b"),
    ],
)
def test_a_cell_or_an_instance_is_named_by_a_variable_and_not_shown(monkeypatch, batch, environ, place):
    assert where(batch, environ=environ) == (place,)
    job = JobId("100", (place,))
    assert str(job) == "100"
    for query in filter(None, (batch.status, batch.history)):
        (question,) = query_commands(batch, query, ["100"], job.where)
        assert list(question.argv[:2]) == ["env", place]
        assert question.program == query.command.split()[2 * (batch is FLUX)]
    (cancelled,) = cancel_commands(batch, [job], ["-f"])
    assert list(cancelled.argv[:2]) == ["env", place] and "-f" in cancelled.argv
    assert cancel_commands(batch, [JobId("100")])[0].argv[0] == batch.cancel.split()[0]


def test_a_job_is_submitted_where_it_is_asked_about(tmp_path, monkeypatch):
    """In a job of Flux that is not the instance which the variable means."""
    monkeypatch.setenv("FLUX_URI", "local:///job")
    monkeypatch.setenv("MPIDASK_FLUX_URI", "local:///parent")
    script = tmp_path / "job.sh"
    script.write_text("#!/bin/bash\n")
    asked = answers(monkeypatch, env="f2ABC\n")
    job = attempt.run_submit(FLUX, Command(argv=("flux", "batch", str(script))), script)
    assert job == JobId("f2ABC", ("FLUX_URI=local:///parent",))
    assert asked == [("env", "FLUX_URI=local:///parent", "flux", "batch", str(script))]


def answers(monkeypatch, **texts):
    """Have commands print these texts: name of the command -> stdout, or a whole output."""
    asked = []

    def run(command, *_, **__):
        asked.append(command.argv)
        text = next((text for name, text in texts.items() if command.argv[0] == name), "")
        return text if isinstance(text, Output) else Output(command, 0, text, "")

    monkeypatch.setattr(runner, "run", run)
    return asked


def row(job, state, restarts=0):
    return f"{job}|{state}|None|2026-11-27T01:00:00|0|{restarts}|\n"


def test_two_jobs_with_the_same_number_are_two(monkeypatch):
    here, far = JobId("100"), JobId("100", ("far",))
    asked = []

    def run(command):
        asked.append(command.argv)
        return Output(command, 0, row("100", "R" if "--clusters=far" in command.argv else "CA"), "")

    monkeypatch.setattr(runner, "run", run)
    reports = monitor.ask(SLURM, SLURM.status, [here, far])
    assert (reports[here].state, reports[far].state) == (JobState.CANCELLED, JobState.RUNNING)
    assert [str(job) for job in leases.living(SLURM, [here, far])] == ["100@far"]
    assert [list(each.argv) for each in cancel_commands(SLURM, [here, far, JobId("101")])] == [
        ["scancel", "100", "101"],
        ["scancel", "--clusters=far", "100"],
    ]


@pytest.mark.parametrize("listed", ["100.pbs", "100.pbs.site.org", "100.front"])
def test_a_job_of_pbs_is_known_by_its_number_and_its_server_in_any_spelling(monkeypatch, listed):
    job = JobId("100.pbs.site.org")
    answers(monkeypatch, qstat=f"Job Id: {listed}\n    job_state = R\n    run_count = 2\n")
    assert monitor.ask(PBS, PBS.status, [job])[job].restarts == 1


@pytest.mark.parametrize(
    ("name", "job", "listed", "text"),
    [
        ("moab", "100.head", "100", '<job JobID="100" State="Running"/></Data>'),
        ("moab", "100", "100.head", '<job JobID="100.head" State="Running"/></Data>'),
        ("lsf", "100@clusterB", "100", "100|RUN|-|-|-|-|0"),
        ("lsf", "100@clusterB", "100@clusterB", "100@clusterB|RUN|-|-|-|-|0"),
        ("flux", "f2ABC", "ƒ2ABC", "ƒ2ABC|R||2026-11-21T08:00:00|-|node1| "),
        ("flux", "ƒ2ABC", "f2ABC", "f2ABC|R||2026-11-21T08:00:00|-|node1| "),
        ("slurm", "100_2", "100_2", "100_[1-3%2]|R|None|N/A|0|0|"),
    ],
)
def test_a_job_is_known_in_the_spellings_of_its_id(name, job, listed, text):
    system = registry.find(name)
    found = parse_answer(system, system.status, text)[0]
    assert found[listed].state is JobState.RUNNING
    assert match_ids(system, [job], found) == {job: found[listed]}


@pytest.mark.parametrize(
    ("row", "elements"),
    [
        ("100_[1-3%2]", "100_1 100_2 100_3"),
        ("100_[2,5-9:2,...]", "100_2 100_5 100_7 100_9"),
        ("100_[7]", "100_7"),
        ("100_4", "100_4"),
    ],
)
def test_a_row_may_stand_for_the_elements_of_an_array_that_wait(row, elements):
    answers = (SLURM.status, f"{row}|PD|Priority|N/A|0|0|"), (SLURM.history, f"{row}|PENDING|0:0")
    for query, text in answers:
        reports, rest = parse_answer(SLURM, query, text)
        assert (" ".join(reports), rest) == (elements, "")
        assert {report.state for report in reports.values()} == {JobState.PENDING}


@pytest.mark.parametrize(
    ("native", "state", "words"),
    [
        ("OUT_OF_ME+", JobState.FAILED, "out of memory"),
        ("CANCELLED+", JobState.CANCELLED, "cancelled"),
        ("CANCELLED by 1000", JobState.CANCELLED, "cancelled"),
        ("COMPLETED", JobState.DONE, "COMPLETED"),
        ("NODE_F+", JobState.FAILED, "a node failed"),
        ("COMPLET+", JobState.DONE, "COMPLETED"),
        ("PARTY+", JobState.UNKNOWN, "PARTY"),
    ],
)
def test_a_state_that_was_cut_off_is_known(native, state, words):
    report = parse_answer(SLURM, SLURM.history, f"100|{native}|0:0")[0]["100"]
    assert (report.state, SLURM.plain(report.native)) == (state, words)
    assert SLURM.whole("COMPLET+", ended=False) == "COMPLETING", "jobs that have ended are asked for elsewhere"


def test_ids_of_two_servers_are_not_mistaken_for_each_other():
    asked = ["100.one.site.org", "100.two.site.org"]
    told = parse_answer(PBS, PBS.status, "Job Id: 100.two\n    job_state = R\nJob Id: 100.one\n    job_state = Q\n")[0]
    found = match_ids(PBS, asked, told)
    assert [found[each].state for each in asked] == [JobState.PENDING, JobState.RUNNING]
    assert match_ids(PBS, ["100.three", "100.four"], told) == {}
    assert match_ids(SGE, ["100.1"], {"100.2": told["100.one"]}) == {}, "there it is an index"


def test_of_a_heterogeneous_job_the_first_component_tells():
    reports = parse_answer(SLURM, SLURM.status, row("100+0", "R") + row("100+1", "PD"))[0]
    assert {job: report.state for job, report in reports.items()} == {"100": JobState.RUNNING}


def test_of_several_reports_on_a_job_one_that_it_has_not_ended_counts():
    for text in (row("7", "RV") + row("7", "R"), row("7", "R") + row("7", "RV")):
        assert parse_answer(SLURM, SLURM.status, text)[0]["7"].state is JobState.RUNNING


def test_the_user_is_the_one_of_this_process(monkeypatch):
    monkeypatch.setenv("LOGNAME", "service")
    monkeypatch.setenv("USER", "service")
    (question,) = query_commands(SLURM, SLURM.status, ["100"])
    assert f"--user={pwd.getpwuid(os.geteuid()).pw_name}" in question.argv


@pytest.mark.parametrize(
    ("batch", "variables", "kept"),
    [
        (SLURM, ["SQUEUE_USERS", "SACCT_FORMAT", "SLURM_TIME_FORMAT", "SCANCEL_STATE", "SLURM_CLUSTERS"], "SLURM_CONF"),
        (PBS, ["PBS_DPREFIX", "PBS_JOBID", "PBS_O_WORKDIR", "QSTAT_FORMAT"], "PBS_CONF_FILE"),
    ],
)
def test_a_question_has_an_environment_of_its_own(monkeypatch, batch, variables, kept):
    for name in (*variables, kept):
        monkeypatch.setenv(name, "x")
    output = runner.run(Command(argv=("env",), without=batch.ignored))
    names = {line.split("=")[0] for line in output.stdout.splitlines()}
    assert not names & set(variables)
    assert {kept, "PATH", "LC_ALL"} <= names


def test_an_answer_without_a_job_and_with_words_on_stderr_is_no_news(monkeypatch):
    words = "qstat: PBS is not configured to maintain job history 100.pbs\n"
    answers(monkeypatch, qstat=Output(Command(argv=("qstat",)), 0, "", words))
    with pytest.raises(BatchError, match="did not answer"):
        monitor.ask(PBS, PBS.status, [JobId("100.pbs")])
    answers(monkeypatch, qstat=Output(Command(argv=("qstat",)), 153, "", "qstat: Unknown Job Id 100.pbs\n"))
    assert monitor.ask(PBS, PBS.status, [JobId("100.pbs")]) == {}


FRAME = "<?xml version='1.0'?>\n<job_info>\n  <queue_info>\n  </queue_info>\n  <job_info>\n  </job_info>\n</job_info>\n"

#: Answers that list no job, and say something else than that there is none: (system, stdout, stderr, status).
NO_NEWS = [
    ("slurm", "JOBID PARTITION NAME USER\n100 debug x u\n", "", 0),
    ("slurm", "999|R|No", "", 0),
    ("pbs", "qstat: PBS is not configured to maintain job history 100.pbs\n", "", 0),
    ("pbs", "Job Id: 100.pbs\n    Job_Name = x\n", "", 0),
    ("pbs", "", "qstat: Unknown Job Id 100.pbs\nqstat: cannot connect to server far (errno=111)\n", 1),
    ("torque", "", "pbs_iff: timed out\n", 1),
    ("lsf", "JOBID USER STAT\n100 u RUN\n", "", 0),
    ("oar", "DBI connect failed: lost connection\n", "", 0),
    ("moab", "ERROR:    lost connection to server\n", "", 0),
    ("moab", "<Data><queue count='1'>\n", "", 0),
    ("sge", FRAME[:60], "", 0),
    ("htcondor", "-- Failed to fetch ads from: <10.0.0.1:9618>\n", "", 0),
    ("flux", "flux-jobs: broker: connection lost\n", "", 0),
]


@pytest.mark.parametrize(("name", "stdout", "stderr", "status"), NO_NEWS)
def test_an_answer_that_says_something_else_is_no_news(monkeypatch, name, stdout, stderr, status):
    system = registry.find(name)
    monkeypatch.setattr(runner, "run", lambda *_, **__: Output(Command(argv=("ask",)), status, stdout, stderr))
    with pytest.raises(BatchError, match="did not answer"):
        monitor.ask(system, system.status, [JobId("100.pbs" if name in ("pbs", "torque") else "100")])


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("slurm", "JOBID PARTITION NAME USER ST TIME\n100 debug x u R 0:10\n"),
        ("lsf", "JOBID USER STAT QUEUE\n100 u RUN normal\n"),
    ],
)
def test_an_answer_in_another_form_is_said_once_with_its_command(monkeypatch, capfd, name, columns):
    system = registry.find(name)
    monkeypatch.setattr(runner, "run", lambda command, **_: Output(command, 0, columns, ""))
    for job in ("100", "200"):
        with pytest.raises(BatchError, match="did not answer"):
            monitor.ask(system, system.status, [JobId(job)])
    said = capfd.readouterr().err
    assert said.count(f"{system.title} did not answer in a form that can be read") == 1
    assert f"command: {system.status.command.split()[0]} " in said and "printed: JOBID " in said


@pytest.mark.parametrize(
    ("name", "stdout", "stderr", "status"),
    [
        ("slurm", "CLUSTER: near\nCLUSTER: far\n", "", 0),
        ("slurm", "300_[1-3%2]|PD|Priority|N/A|0|0|\n", "", 0),
        ("pbs", "", "qstat: Unknown Job Id 100.pbs\n", 153),
        ("lsf", "", "Job <100> is not found\n", 255),
        ("moab", "<Data></Data>\n", "", 0),
        ("sge", FRAME, "", 0),
        ("htcondor", "", "", 0),
        ("local", "    1 Ss   /sbin/init\n  100 S    sleep 7\n", "", 0),
    ],
)
def test_an_answer_that_says_that_there_is_none_is_one(monkeypatch, name, stdout, stderr, status):
    system = registry.find(name)
    monkeypatch.setattr(runner, "run", lambda *_, **__: Output(Command(argv=("ask",)), status, stdout, stderr))
    assert monitor.ask(system, system.status, [JobId("100")]) == {}


def test_a_job_of_a_server_that_does_not_answer_has_not_ended_because_another_one_answers(tmp_path, monkeypatch):
    ids = [JobId("100.near"), JobId("200.far")]
    known = "Job Id: 100.near\n    job_state = R\n"
    silent = Output(
        Command(argv=("qstat",)), 1, known, "Connection refused\nqstat: cannot connect to server far (errno=111)\n"
    )
    gone = Output(Command(argv=("qstat",)), 153, known, "qstat: Unknown Job Id 200.far\n")
    for answer, covered in ((silent, ids[:1]), (gone, ids)):
        monkeypatch.setattr(runner, "run", lambda *_, answer=answer, **__: answer)
        assert monitor._survey(PBS, ids)[1] == set(covered)


def test_where_a_job_was_submitted_is_recorded_shown_and_found(tmp_path):
    from mpidask.batch.job import BatchJob

    def record(name, *jobs):
        made, _ = store.create(BatchJob(command=("true",), name=name), registry.find("local"), str(tmp_path))
        for job in jobs:
            made.add_submission(job)
        return made

    here, far = record("here", JobId("100")), record("far", JobId("99"), JobId("100", ("far",)))
    assert (here.id, far.id, far.identity) == ("100", "100@far", JobId("100", ("far",)))
    assert store.find(str(tmp_path), "100@far").job == "far"
    assert store.find(str(tmp_path), "100;far").job == "far", "as sbatch prints it"
    assert store.find(str(tmp_path), "100").job == "here"
    record("flux", JobId("f2ABC"))
    assert store.find(str(tmp_path), "ƒ2ABC").job == "flux", "as a terminal shows it"
    assert store.find(str(tmp_path), "99").job == "far"


def test_what_was_taken_for_an_end_is_none_if_the_job_is_listed(tmp_path, monkeypatch):
    from mpidask.batch.job import BatchJob

    record, _ = store.create(BatchJob(command=("true",)), SLURM, str(tmp_path))
    record.add_submission(JobId("100"))
    record.keep(dataclasses.replace(record.standing, state=JobState.FAILED, final=True))
    answers(monkeypatch, squeue=row("100", "CA"))
    assert monitor.look_again([record])[record.name].state is JobState.FAILED
    answers(monkeypatch, squeue=row("100", "R"))
    assert monitor.look([record], 0.0)[record.name].final
    standing = monitor.look_again([record])[record.name]
    assert (standing.state, standing.final) == (JobState.RUNNING, False)
    assert record.standing == standing


def test_a_full_disk_keeps_no_job_from_being_watched_and_cancelled(tmp_path, monkeypatch):
    from mpidask.batch.job import BatchJob

    record, _ = store.create(BatchJob(command=("true",)), SLURM, str(tmp_path))
    record.add_submission(JobId("100"))

    def full(*_):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(records, "replace_json", full)
    monkeypatch.setattr(records, "mark", full)
    asked = answers(monkeypatch, squeue=row("100", "R"))
    for _ in range(5):
        assert monitor.look([record], 100.0)[record.name].state is JobState.RUNNING
    assert len(asked) == 1
    cancellation.cancel_records([record])
    assert asked[-1] == ("scancel", "100")
    monkeypatch.undo()
    record.keep(Standing(id="100", state=JobState.DONE))
    assert store.read(record.directory).standing.state is JobState.DONE


def test_a_cluster_s_jobs_are_looked_for_and_cancelled_where_they_are(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    lease = leases.create("slurm", "Test")
    lease.add([(0, JobId("100", ("far",))), (1, JobId("101"))])
    assert lease.ids == [JobId("100", ("far",)), JobId("101")]
    asked = answers(monkeypatch, squeue=row("100", "R"))
    assert [str(job) for job in leases.read(lease.directory).release()] == ["100@far"]
    assert asked[-1] == ("scancel", "--clusters=far", "100")


def test_each_execution_of_a_job_has_its_own_status(tmp_path):
    from mpidask.batch.job import BatchJob

    record, job = store.create(BatchJob(command=("true",)), SLURM, str(tmp_path))
    script = record.script.read_text()
    assert "execution=${SLURM_RESTART_COUNT:-0}" in script
    assert "$(cat" in job_script(registry.find("pbs"), job)
    assert (record.execution, record.exited) == (None, None)
    (record.directory / "status").write_text("143\n")
    (record.directory / "executions").write_text("0 1764205200 mn1\n")
    assert (record.execution, record.exited) == (0, 143)
    (record.directory / "executions").write_text("0 1764205200 mn1\n1 1764205300 mn2\n")
    assert (record.executions[-1], record.exited) == ((1, 1764205300.0), None)
    (record.directory / "status.1").write_text("0\n")
    assert record.exited == 0
    record.forget_exit()
    assert (record.execution, record.exited) == (None, None)


@pytest.mark.parametrize("name", ["slurm", "local"])
def test_a_job_script_that_runs_again_keeps_what_it_has_left_apart(tmp_path, name):
    import subprocess

    from mpidask.batch.job import BatchJob

    job = BatchJob(command=("bash", "-c", "echo run $n; exit $n"), name="again")
    record, _ = store.create(job, registry.find(name), str(tmp_path))
    for n in (3, 0):
        environ = {**os.environ, "n": str(n), "SLURM_RESTART_COUNT": str(int(n == 0)), "SLURM_JOB_ID": "1"}
        subprocess.run(["bash", record.script], env=environ, check=False, timeout=60)
        assert record.exited == n
    assert record.execution == 1
    assert record.log.read_text() == "run 0\n"
    assert (record.directory / "execution-0" / "job.log").read_text() == "run 3\n"


ODD = ['["100", 17', "17", "null", '"100"', "[]", '["", 17]', '["101", "soon", []]', "[" * 5000, "\xff", "\x00"]


@pytest.mark.parametrize("odd", ODD)
def test_a_line_that_cannot_be_read_hides_no_other(tmp_path, monkeypatch, odd):
    """As a full disk leaves it."""
    from mpidask.batch.job import BatchJob

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    whole, broken = (store.create(BatchJob(command=("true",)), SLURM, None)[0] for _ in range(2))
    whole.add_submission(JobId("100"))
    (broken.directory / "submissions").write_bytes(odd.encode("latin-1"))
    (broken.directory / "executions").write_text("0 soon n1\n0")
    (broken.directory / "standing.json").write_text('{"id": ""}')
    assert {each.id for each in store.records(None)} == {"100", ""}
    assert store.find(None, "100").name == whole.name
    assert (broken.standing.id, broken.execution) == ("", None)
    broken.add_submission(JobId("102", ("far",)))
    assert [job for job, _ in broken.submissions] == [JobId("102", ("far",))], "its line is not glued to the odd one"


@pytest.mark.parametrize("odd", ['[0, "100', "17", "[0]", '[0, 7, "far"]', "null", "\xff"])
def test_a_line_of_a_cluster_that_cannot_be_read_hides_no_other(tmp_path, monkeypatch, odd):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    lease = leases.create("slurm", "Test")
    lease.add([(0, JobId("100", ("far",)))])
    with (lease.directory / "jobs").open("ab") as file:
        file.write(odd.encode("latin-1"))
    lease.add([(1, JobId("101"))])
    assert leases.read(lease.directory).ids == [JobId("100", ("far",)), JobId("101")]


def test_a_job_without_a_place_was_submitted_here(tmp_path, monkeypatch):
    from mpidask.batch.job import BatchJob

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    record, _ = store.create(BatchJob(command=("true",)), SLURM, None)
    (record.directory / "submissions").write_text('["77", 17]\n["78", 18.5, null]\n')
    assert record.submissions == [(JobId("77"), 17.0), (JobId("78"), 18.5)]
    lease = leases.create("slurm", "Test")
    (lease.directory / "jobs").write_text('[0, "77"]\n')
    assert lease.ids == [JobId("77")]
