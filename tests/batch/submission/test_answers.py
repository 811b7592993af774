"""What a submit command answers: the job was taken, refused, or that is not clear. Stand-ins for the commands."""

from __future__ import annotations

import dataclasses
import os
import re
import time
from datetime import timedelta
from pathlib import Path

import pytest

from mpidask.batch import registry
from mpidask.batch.commands import runner
from mpidask.batch.commands.command import Command
from mpidask.batch.job import BatchJob
from mpidask.batch.job_state import JobId, JobState
from mpidask.batch.queries import lookup, monitor
from mpidask.batch.queries.questions import parse_search
from mpidask.batch.records import claims, store
from mpidask.batch.records.processes import Process
from mpidask.batch.scripts.submit_command import excluded_variables, options_from_environment
from mpidask.batch.status import Standing
from mpidask.batch.submission import attempt, cancellation, handles, resubmission
from mpidask.cli import common, jobs
from mpidask.errors import BatchError, SilenceError, UnclearError


def command(name, *words):
    """Run a command; return its exit status."""
    return common.guarded(lambda: jobs.COMMANDS[name][1](words))


#: System, what it prints around and in place of the plain id, the id that is meant.
FORMS = [
    ("slurm", "2026-11-26 14:00:01 [INFO4] auks_api: auks cred added using default file\n100\n", "100"),
    ("slurm", "Submitted batch job 123 on cluster serial", "123"),
    ("slurm", "Checking your budget: 2 nodes x 48 cores: 96 SU\nSubmitted batch job 7\n", "7"),
    ("slurm", "100\n2 nodes x 48 cores: 96 SU\n", "100"),
    ("pbs", "12 Nov 2026: maintenance on the 24th\n1234.pbs01.site.org\n", "1234.pbs01.site.org"),
    ("pbs", "qsub: job 1234.pbs01 is submitted to queue workq", "1234.pbs01"),
    ("pbs", "1234[].pbs01\nsee /var/log/1234.txt, 96 SU\n", "1234[].pbs01"),
    ("torque", "this costs 48 core hours\n77\n", "77"),
    ("sge", 'Your job 4711 ("flights") has been submitted', "4711"),
    ("sge", 'Your job-array 12.1-4:1 ("flights") has been submitted', "12"),
    ("lsf", "Job <1> was the last one.\nJob <2> is submitted to queue <normal>.\n<<Waiting for dispatch ...>>", "2"),
    ("htcondor", "Submitting job(s).\n1 job(s) submitted to cluster 42.\n", "42"),
    ("moab", "\n20 jobs are ahead of yours\nMoab.12\n", "Moab.12"),
    ("oar", "OAR_JOB_ID=3\nOAR_JOB_ID=4\n", "4"),
    ("slurm", "INFO: Submitted batch job 100.\n", "100"),
    ("slurm", "\x1b[32mSubmitted batch job 100\x1b[0m\r\n", "100"),
    ("slurm", "Submitted batch job 100\n\nJobs left today:\n42\n", "100"),
    ("pbs", "Job submitted: 100.pbs.\n", "100.pbs"),
    ("pbs", "100.pbs\nfor help see 1.2.html 3.html\n", "100.pbs"),
    ("pbs", "Job 100.pbs submitted\nfor help see 3.html\n", "100.pbs"),
    ("pbs", "100.10.0.0.1\n", "100.10.0.0.1"),
    ("torque", "100.head@other\n", "100.head@other"),
    ("lsf", "info: Job <100> is submitted to queue <normal>.\n", "100"),
    ("sge", 'note: Your job 100 ("x") has been submitted\n', "100"),
    ("oar", "# OAR_JOB_ID=100 \n", "100"),
    ("flux", "f2ABCDefg\nfinished\n", "f2ABCDefg"),
    ("flux", "ƒ2ABCDefg\nfinished\n", "ƒ2ABCDefg"),
    ("moab", "\n100.head\n", "100.head"),
    ("lsf", "Job <100@clusterB> is submitted to queue <normal>.\n", "100@clusterB"),
]

NONE = [
    ("slurm", "2 nodes x 48 cores: 96 SU"),
    ("slurm", "2026-11-26 14:00:01 maintenance"),
    ("pbs", "12 Nov 2026: maintenance on the 24th"),
    ("sge", "48 slots are free"),
    ("flux", "welcome to 0"),
]


@pytest.mark.parametrize(("name", "text", "job_id"), FORMS)
def test_an_answer_is_read_by_its_form(name, text, job_id):
    assert registry.find(name).parse_job_id(text) == job_id


@pytest.mark.parametrize(("name", "text"), NONE)
def test_what_only_looks_like_an_answer(name, text):
    assert registry.find(name).parse_job_id(text) is None


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Return a function that submits with stand-ins for sbatch and squeue, given as shell lines."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(attempt, "_LOOKS", (0.0, 0.1))
    script = tmp_path / "run" / "job.sh"
    script.parent.mkdir()
    script.write_text("#!/bin/bash\n")

    def submit(sbatch, squeue="exit 1"):
        for name, text in (("sbatch", sbatch), ("squeue", squeue)):
            (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
            (tmp_path / name).chmod(0o755)
        system = registry.find("slurm")
        return attempt.run_submit(system, Command(argv=("sbatch", "--parsable", str(script))), script).id

    submit.script = script
    return submit


def test_a_job_whose_submission_timed_out_is_found_by_its_script(slurm, capfd):
    late = "echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation' >&2; exit 1"
    assert slurm(late, f"echo '8|/elsewhere/job.sh'; echo '9|{slurm.script}'") == "9"
    assert "it has: 9" in capfd.readouterr().err


@pytest.mark.parametrize(
    "sbatch",
    [
        "echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation' >&2; exit 1",
        "echo 'Thank you for your job'",
        "kill -9 $$",
    ],
)
def test_what_is_not_clear_is_never_called_refused(slurm, sbatch):
    with pytest.raises(UnclearError, match="may have been submitted") as caught:
        slurm(sbatch, "echo '8|/elsewhere/job.sh'")
    assert "squeue" in caught.value.remedy


def test_what_is_refused(slurm):
    with pytest.raises(BatchError, match="did not take the job: there is no such partition") as caught:
        slurm("echo 'sbatch: error: invalid partition specified: x' >&2; exit 1")
    assert not isinstance(caught.value, UnclearError)


def test_an_id_counts_although_something_went_wrong_after_it(slurm):
    assert slurm("echo 12; echo 'cannot write to the log of jobs' >&2; exit 1") == "12"


def test_half_an_answer_is_none(slurm):
    with pytest.raises(UnclearError):
        slurm("printf 10; kill -9 $$")


def test_a_submit_command_that_waits_for_the_job_is_left_alone_with_it(slurm, tmp_path):
    """And without a word: Grid Engine's qsub cancels the job when it is asked to end."""
    words = f"trap 'touch {tmp_path}/cancelled' TERM INT HUP; sleep 600 & echo $! >{tmp_path}/child; echo 12; wait"
    assert slurm(words) == "12"
    assert not (tmp_path / "cancelled").exists()
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 10
    while runner._session(child) is not None and _runs(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(child)


def _runs(process):
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_command_that_does_not_answer_is_named_and_given_up(slurm, monkeypatch, capfd):
    monkeypatch.setattr(runner, "_PATIENCE", 0.1)
    with pytest.raises(BatchError, match="no answer within 1 s") as caught:
        runner.run(Command(argv=("env", "A=b", "sleep", "600")), 1)
    assert "--system" in caught.value.remedy
    assert capfd.readouterr().err == "mpidask: waiting for sleep ...\n"


def test_variables_that_a_command_is_not_to_see(monkeypatch):
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "1")
    monkeypatch.setenv("SLURM_CONF", "here")
    words = ("sh", "-c", 'echo "${SLURM_MEM_PER_CPU-none} $SLURM_CONF"')
    assert runner.run(Command(argv=words)).stdout == "1 here\n"
    assert runner.run(Command(argv=words, without="SLURM_MEM_.*")).stdout == "none here\n"


def test_a_system_whose_command_hangs_is_no_reason_to_compute_here(slurm, monkeypatch, tmp_path):
    monkeypatch.setattr(registry, "_DETECTION", 0.5)
    monkeypatch.setattr(runner, "_PATIENCE", 60.0)
    monkeypatch.setattr(registry, "names", lambda: ["oar", "local"])
    (tmp_path / "oarsub").write_text("#!/bin/sh\nexec sleep 600\n")
    (tmp_path / "oarsub").chmod(0o755)
    registry._detect.cache_clear()
    with pytest.raises(BatchError, match="OAR are here, but do not answer") as caught:
        registry.find_here()
    assert "--system" in caught.value.remedy


OPTIONS = """#!/bin/bash
#SBATCH -J flights --time 10
#SBATCH --qos=normal
#SBATCH --comment='-p debug'
"""


@pytest.mark.parametrize(
    ("users", "expected"),
    [
        ({"LC_ALL": "de_DE.UTF-8", "LC_TIME": "C"}, {"LANG": "de_DE.UTF-8", "LC_MESSAGES": "C"}),
        ({"LANG": "C.UTF-8", "LC_TIME": "C"}, {"LANG": "C.UTF-8", "LC_TIME": "C", "LC_MESSAGES": "C"}),
    ],
)
def test_a_job_has_the_locale_of_its_user(monkeypatch, users, expected):
    """It may get the environment of the command that submits it."""
    for name in [name for name in os.environ if name.startswith("LC_") or name == "LANG"]:
        monkeypatch.delenv(name)
    for name, value in users.items():
        monkeypatch.setenv(name, value)
    submits = runner.run(Command(argv=("env",)), enough=lambda text: False)
    asks = runner.run(Command(argv=("env",)))
    found = dict(line.split("=", 1) for line in submits.stdout.splitlines() if re.match("LC_|LANG", line))
    assert found == expected
    assert "LC_ALL=C\n" in asks.stdout


def test_what_is_asked_for_wins_over_the_environment():
    system = registry.find("slurm")
    given = {
        f"SBATCH_{name}": "x" for name in ("TIMELIMIT", "QOS", "PARTITION", "WAIT", "JOB_NAME", "CLUSTERS", "EXPORT")
    }
    left = {name for name in given if not re.fullmatch(excluded_variables(system, OPTIONS), name)}
    assert left == {"SBATCH_PARTITION", "SBATCH_CLUSTERS", "SBATCH_EXPORT"}
    assert options_from_environment(system, OPTIONS, {"SBATCH_PARTITION": "debug", "SBATCH_QOS": "x"}) == [
        "partition debug, from SBATCH_PARTITION"
    ]


OUTER = {
    "slurm": "SLURM_JOB_ID SLURM_MEM_PER_CPU SLURM_CPU_BIND_LIST SLURM_NTASKS_PER_NODE SLURM_NTASKS SLURM_EXPORT_ENV "
    "SLURM_STEP_ID SLURM_JOBID SLURM_HET_SIZE SLURM_TRES_PER_TASK SLURM_NNODES SLURM_TIMELIMIT SRUN_CPUS_PER_TASK",
    "pbs": "PBS_JOBID PBS_O_WORKDIR PBS_NODEFILE PBS_DPREFIX PBS_ARRAY_INDEX NCPUS",
    "torque": "PBS_JOBID PBS_NUM_PPN",
    "moab": "PBS_JOBID MOAB_NODELIST",
    "lsf": "LSB_JOBID LSB_HOSTS LSB_DJOB_HOSTFILE LSB_JOBINDEX BSUB_QUIET LS_JOBPID",
    "sge": "JOB_ID PE_HOSTFILE NSLOTS SGE_TASK_ID SGE_O_HOST",
    "oar": "OAR_JOB_ID OAR_NODEFILE OAR_JOBID",
    "htcondor": "_CONDOR_JOB_AD _CONDOR_SCRATCH_DIR",
    "flux": "FLUX_JOB_ID FLUX_TASK_RANK",
    "local": "PMI_RANK PMIX_NAMESPACE OMPI_COMM_WORLD_SIZE OMPI_MCA_ess_base_jobid PALS_RANKID",
}
STAY = {
    "slurm": "SLURM_CONF SLURM_CLUSTERS SLURM_JWT SLURM_MPI_TYPE SBATCH_CLUSTERS SBATCH_PARTITION PATH",
    "pbs": "PBS_DEFAULT PBS_CONF_FILE PBS_EXEC PBS_SERVER PBS_HOME PBS_PRIMARY",
    "lsf": "LSF_ENVDIR LSF_SERVERDIR LSF_BINDIR LSB_DEFAULTQUEUE LSB_SHAREDIR LSB_CONFDIR",
    "sge": "SGE_ROOT SGE_CELL SGE_CLUSTER_NAME SGE_QMASTER_PORT",
    "htcondor": "_CONDOR_SCHEDD_HOST CONDOR_CONFIG _CONDOR_COLLECTOR_HOST",
    "flux": "FLUX_URI FLUX_EXEC_PATH",
    "local": "OMPI_MCA_btl HYDRA_BOOTSTRAP PMI_NO_FORK PMIX_MCA_gds PRTE_MCA_plm_ssh_agent HOME",
}


@pytest.mark.parametrize("name", OUTER)
def test_what_an_outer_job_has_does_not_reach_the_submission(name):
    pattern = excluded_variables(registry.find(name), "")
    assert [each for each in OUTER[name].split() if not re.fullmatch(pattern, each)] == []
    assert [each for each in STAY.get(name, "").split() if re.fullmatch(pattern, each)] == []


def test_the_submit_command_sees_none_of_it(slurm, monkeypatch):
    for name, value in {"SLURM_MEM_PER_CPU": "1", "SBATCH_TIMELIMIT": "1", "SBATCH_WAIT": "1", "PMI_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    slurm.script.write_text(OPTIONS)
    with pytest.raises(UnclearError) as caught:
        slurm("env | grep -E 'SLURM_MEM|SBATCH_|PMI_'; echo end of it")
    assert "SBATCH_" not in caught.value.what
    assert "stdout: end of it" in caught.value.what


def answering(monkeypatch, **answers):
    """Have commands answer: name -> what a function returns for the words, a text or an exception."""
    asked = []

    def run(command, *_, **__):
        asked.append(command.argv)
        answer = answers.get(command.argv[0], "")
        if isinstance(answer, BaseException):
            raise answer
        if callable(answer):
            answer = answer(command.argv)
        return answer if isinstance(answer, runner.Output) else runner.Output(command, 0, answer, "")

    monkeypatch.setattr(runner, "run", run)
    return asked


@pytest.fixture
def record(tmp_path, monkeypatch):
    """Return the record of a job of Slurm that the walltime has ended, and that may be submitted again."""
    monkeypatch.setattr(attempt, "_LOOKS", (0.0,))
    monkeypatch.setattr(resubmission, "_PAUSE", 0.0)
    job = BatchJob(command=("true",), walltime=timedelta(hours=1), requeue=5)
    record, _ = store.create(job, registry.find("slurm"), str(tmp_path))
    record.add_submission(JobId("100"))
    (record.directory / "status").write_text("75\n")
    return record


def test_a_job_that_is_submitted_again_is_not_taken_for_the_one_before(record, monkeypatch):
    answering(monkeypatch, sbatch=SilenceError("no answer"), squeue=f"100|{record.script}\n")
    with pytest.raises(UnclearError):
        resubmission.resubmit(record.directory)
    assert record.known == [JobId("100")] and record.doubt is not None


def test_a_job_that_is_submitted_again_is_found_beside_the_one_before(record, monkeypatch):
    answering(monkeypatch, sbatch=SilenceError("no answer"), squeue=f"100|{record.script}\n101|{record.script}\n")
    assert resubmission.resubmit(record.directory)[1] == "101"


def test_an_earlier_job_is_known_in_any_spelling_and_where_it_was_submitted(record):
    pbs = registry.find("pbs")
    row = f"Job Id: {{}}\n    Output_Path = n1:{record.directory}/system.log\n"
    text = row.format("7.pbs") + row.format("8.pbs")
    assert parse_search(pbs, text, record.script) is None
    assert parse_search(pbs, text, record.script, ["7.pbs.site.org"]) == "8.pbs"


def test_a_job_of_this_machine_is_found_by_its_script(record):
    text = (
        f"  900   900 bash {record.script}\n  901   900 bash {record.script}\n"
        f"  800   800 -bash\n  950   800 setsid nohup bash {record.script}\n"
    )
    assert parse_search(registry.find("local"), text, record.script) == "900"
    assert parse_search(registry.find("local"), text, record.script, ["900"]) is None
    assert parse_search(registry.find("local"), text.replace("900 bash", "900 vi"), record.script) is None


FLUX = """#!/bin/bash
[ "$FLUX_URI" = local:///there ] || exit 1
case "$1 $2" in
    "jobs -a") [ "$4" != --name=flights ] || printf 'f2x\\nf3x\\n' ;;
    "job info") printf '{"attributes": {"system": {"environment": {"X": "/run/job.sh"}}, "user": {%s}}, "version": 1}' \\
        "$([ "$3" = f2x ] || echo '"mpidask": "/run/job.sh"')" ;;
esac
"""


def test_a_job_of_flux_is_found_by_its_script_in_the_instance_where_it_is(tmp_path, monkeypatch):
    (tmp_path / "flux").write_text(FLUX)
    (tmp_path / "flux").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    flux, script, there = registry.find("flux"), Path("/run/job.sh"), ("FLUX_URI=local:///there",)
    assert lookup.find_by_script(flux, script, "flights", there) == JobId("f3x", there)
    assert lookup.find_by_script(flux, script, "other", there) is None
    with pytest.raises(BatchError, match="did not tell"):
        lookup.find_by_script(flux, script, "flights", ("FLUX_URI=local:///elsewhere",))


def test_where_no_job_can_be_looked_for_the_user_is_told_how_to_look(record, monkeypatch):
    system = registry.find("moab")
    answering(monkeypatch, msub=SilenceError("no answer"))
    with pytest.raises(UnclearError, match="may have been submitted") as caught:
        attempt.run_submit(system, Command(argv=("msub", str(record.script))), record.script, name="flights")
    assert "before you submit it again: showq -n -w user=" in caught.value.remedy


def unclear(record, ago=0.0, outcome=claims.Outcome.UNCLEAR, process=None, where=()):
    """Have a submission of a job not be answered, or be cut off, some time ago."""
    path = record.directory / f"submitting.{len(record.submissions)}.0"
    since = time.time() - ago
    claims.Claim(path=path, process=process, where=where, since=since).settle(outcome)
    os.utime(path, (since, since))


ENDED = Standing(id="100", state=JobState.FAILED, exit_status=75, final=True)


def test_a_job_that_may_have_been_submitted_again_is_not_submitted_again(record, monkeypatch, capsys):
    monkeypatch.setattr(resubmission, "_PATIENCE", 0.0)
    silent = SilenceError("no answer")
    asked = answering(monkeypatch, sbatch="101\n", squeue=silent)
    unclear(record)
    assert handles.Handle(record, 0.0)._again(ENDED), "it is looked for"
    with pytest.raises(UnclearError, match="may have been submitted again"):
        resubmission.resubmit(record.directory)
    assert command("resubmit", str(record.directory)) == 0, "its script leaves no status: the next job will"
    assert "may have been submitted again" in capsys.readouterr().err
    assert {words[0] for words in asked} == {"squeue"}
    assert record.exited == 75
    unclear(record, 1000.0)
    assert not handles.Handle(record, 0.0)._again(ENDED), "whoever follows it does not wait for ever"


def test_a_job_that_was_cancelled_is_not_submitted_again(record, monkeypatch):
    asked = answering(monkeypatch, sbatch="101\n")
    record.note_cancelled()
    assert not handles.Handle(record, 0.0)._again(ENDED)
    with pytest.raises(BatchError, match="was cancelled"):
        resubmission.resubmit(record.directory)
    assert asked == []


def test_a_job_is_submitted_again_by_one_process(record, monkeypatch):
    """Whoever comes while the first one submits waits for what becomes of it."""
    follower, found = handles.Handle(record, 0.0), []

    def sbatch(command, *_, **__):
        found.append(command.argv[0])
        if len(found) == 1:  # in the meantime
            assert follower._again(ENDED), "it goes on to wait"
            with pytest.raises(UnclearError, match="another process"):
                resubmission.resubmit(record.directory)
        return runner.Output(command, 0, f"{100 + len(found)}\n", "")

    monkeypatch.setattr(runner, "run", sbatch)
    assert resubmission.resubmit(record.directory)[1] == "101"
    assert found == ["sbatch"]
    assert resubmission.resubmit(record.directory)[1] == "102", "the next time is claimed anew"


def test_a_refused_resubmission_is_left_to_others(record, monkeypatch):
    refused = runner.Output(Command(argv=("sbatch",)), 1, "", "sbatch: error: Access denied\n")
    answering(monkeypatch, sbatch=refused)
    with pytest.raises(BatchError, match="did not take the job"):
        resubmission.resubmit(record.directory)
    answering(monkeypatch, sbatch="101\n")
    assert handles.Handle(record, 0.0)._again(ENDED)
    assert record.id == "101"


LISTED = "100|R|None|2026-11-27T01:00:00|0|0|\n"


def test_a_job_that_could_not_be_cancelled_is_not_called_cancelled(record, monkeypatch):
    monkeypatch.setattr(cancellation, "_ENDINGS", (0.0, 0.0))
    (record.directory / "status").unlink()
    refused = runner.Output(Command(argv=("scancel",)), 1, "", "scancel: error: Unable to contact slurm controller\n")
    answering(monkeypatch, scancel=refused, squeue=LISTED)
    with pytest.raises(BatchError, match="did not cancel the jobs: 100"):
        handles.cancel([handles.Handle(record, 0.0)])
    assert not record.cancel_asked
    answering(monkeypatch, scancel=refused, squeue=LISTED.replace("100", "98") + LISTED.replace("100", "99"))
    handles.cancel([handles.Handle(record, 0.0)])
    assert record.cancel_asked, "it has just left the queue"


def test_a_script_that_had_ended_before_was_not_cancelled(record):
    (record.directory / "status").write_text("3\n")
    os.utime(record.directory / "status", (1000.0, 1000.0))
    record.note_cancelled()
    assert (record.cancel_asked, record.cancelled) == (True, False)
    (record.directory / "status").write_text("143\n")
    os.utime(record.directory / "status", (1000.0, 1000.0))
    assert record.cancelled, "a signal: ours, it may be, by a clock that differs"


DEAD = dataclasses.replace(Process.here(), started=1)  # this number was another process's once
LIVES = Process.here()
CONTAINED = dataclasses.replace(DEAD, space="pid:[1]")  # this number says nothing outside of its container
ELSEWHERE = dataclasses.replace(DEAD, host="elsewhere")


@pytest.mark.parametrize(
    ("process", "ago", "held"),
    [
        (LIVES, 0.0, True),
        (LIVES, 1000.0, False),
        (DEAD, 0.0, False),
        (CONTAINED, 0.0, True),
        (ELSEWHERE, 0.0, True),
        (ELSEWHERE, 1000.0, False),
    ],
)
def test_a_submission_is_under_way_while_its_process_lives_and_for_some_minutes(record, process, ago, held):
    unclear(record, ago, claims.Outcome.OPEN, process)
    assert record.claim(()) is None, "nobody else may submit it before it was looked for"
    assert record.claimed.is_held == held
    assert (record.doubt is None) == held


def test_a_job_whose_resubmission_was_interrupted_is_looked_for_and_then_submitted(record, monkeypatch):
    unclear(record, 60.0, claims.Outcome.OPEN, DEAD)
    answering(monkeypatch, squeue=f"100|{record.script}\n", sbatch="101\n")
    assert resubmission.resubmit(record.directory)[1] == "101"
    assert not list(record.directory.glob("submitting.*"))


def test_a_job_that_an_interrupted_process_has_submitted_is_found_and_not_submitted_again(record, monkeypatch):
    unclear(record, 60.0, claims.Outcome.OPEN, DEAD)
    asked = answering(monkeypatch, squeue=f"100|{record.script}\n102|{record.script}\n")
    with pytest.raises(UnclearError, match="submitted again already: job 102"):
        resubmission.resubmit(record.directory)
    assert record.id == "102"
    assert "sbatch" not in {words[0] for words in asked}


def test_whoever_follows_a_job_goes_on_with_the_one_that_is_found(record, monkeypatch):
    unclear(record, 60.0, claims.Outcome.OPEN, DEAD)
    record.keep(ENDED)
    looks = handles.Handle(record, 0.0).follow()
    found = f"100|{record.script}\n102|{record.script}\n"

    def squeue(words):
        return found if words[-1] == "--format=%F|%o" else LISTED.replace("100", "102")

    answering(monkeypatch, squeue=squeue)
    assert next(looks).id == "102"


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """Return the record of a job of Slurm of which it is not known whether it was submitted."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    record, _ = store.create(BatchJob(command=("true",), name="x"), registry.find("slurm"), None)
    unclear(record, 5.0, where=("far",))
    return record


def in_queue(record):
    """Return what squeue answers if a job is there: to the question by its script, and to that by its id."""
    listed, found = LISTED.replace("100", "7"), f"7|{record.script}\n"
    return lambda words: found if words[-1] == "--format=%F|%o" else listed


def test_status_finds_a_job_whose_submission_was_not_answered_where_it_is(fresh, monkeypatch, capsys):
    asked = answering(monkeypatch, squeue=in_queue(fresh))
    assert command("status") == 0
    assert re.search(r"^7@far +x +running", capsys.readouterr().out, re.MULTILINE)
    assert fresh.identity == JobId("7", ("far",))
    assert fresh.submitted < time.time() - 4, "that is when it was submitted"
    assert all(words[:2] == ("squeue", "--clusters=far") for words in asked)


def test_cancel_finds_it_and_cancels_it(fresh, monkeypatch, capsys):
    asked = answering(monkeypatch, squeue=in_queue(fresh))
    assert command("cancel", fresh.name) == 0
    assert ("scancel", "--clusters=far", "7") in asked
    assert "job 7@far is cancelled" in capsys.readouterr().err


def test_what_is_not_found_is_not_cancelled_and_it_is_said_where_to_look(fresh, monkeypatch, capsys):
    asked = answering(monkeypatch, squeue=SilenceError("no answer"))
    assert command("cancel", fresh.name) == UnclearError.status
    assert "scancel" not in {words[0] for words in asked}
    said = capsys.readouterr().err
    assert "may have been submitted" in said and "`squeue --clusters=far" in said, said
    assert command("status", fresh.name) == 0
    said = capsys.readouterr().out
    assert "unclear" in said and "look with `squeue --clusters=far" in said, said


def test_what_is_looked_for_and_not_there_was_not_submitted(fresh, monkeypatch, capsys):
    answering(monkeypatch, squeue="")
    assert monitor.look([fresh], 0.0)[fresh.name].state is JobState.UNKNOWN, "it may not be listed yet"
    monkeypatch.setattr(lookup, "APPEARS", 0.0)
    assert handles.Handle(fresh, 0.0).wait(timeout=60) is None
    assert command("status") == 0
    assert "not submitted" in capsys.readouterr().out
    assert command("cancel", fresh.name) == 0
    assert "was not submitted" in capsys.readouterr().err


def test_a_job_that_has_begun_was_submitted(fresh, monkeypatch):
    """Though the batch system has forgotten it."""
    monkeypatch.setattr(lookup, "APPEARS", 0.0)
    answering(monkeypatch, squeue="")
    (fresh.directory / "executions").write_text("0 1795000000 n1\n")
    assert monitor.look([fresh], 0.0)[fresh.name].state is JobState.RUNNING
    (fresh.directory / "status").write_text("3\n")
    assert handles.Handle(fresh, 0.0).wait(timeout=60) == 3


def test_whoever_waits_for_a_job_that_may_have_been_submitted_goes_on_to_look(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(attempt, "_LOOKS", (0.0,))
    job, system = BatchJob(command=("true",), name="x"), registry.find("slurm")
    answering(monkeypatch, sbatch=SilenceError("no answer"), squeue="")
    with pytest.raises(UnclearError) as caught:
        handles.submit(job, system)
    assert re.search(r"mpidask status \S+-x-\w+", caught.value.remedy)
    handle = handles.submit(job, system, patient=True)
    assert "may have been submitted" in capsys.readouterr().err
    assert handle.id == "" and handle.title == handle.name
    answering(monkeypatch, squeue=in_queue(handle.record))
    handle.interval = 0.0
    assert next(handle.follow()).state is JobState.RUNNING
    assert handle.id == "7"


def test_two_that_find_the_same_job_submit_it_once(record):
    record.add_submission(JobId("101"))
    record.add_submission(JobId("101"))
    assert record.known == [JobId("100"), JobId("101")]


def test_an_interrupted_submission_is_no_refused_one(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(claims.Process, "here", lambda: DEAD)
    answering(monkeypatch, sbatch=KeyboardInterrupt(), squeue=SilenceError("no answer"))
    with pytest.raises(KeyboardInterrupt):
        handles.submit(BatchJob(command=("true",), name="x"), registry.find("slurm"))
    (handle,) = handles.jobs()
    assert handle.refresh().state is JobState.UNKNOWN
    assert "may have been submitted" in handle.refresh().reason
