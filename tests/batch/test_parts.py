"""The small parts: lines and their fields, walltimes, systems that the configuration declares, and which one is here."""

from __future__ import annotations

import contextlib
import os
import shutil
from datetime import timedelta

import dask
import pytest
import yaml

from mpidask.batch import registry, settings
from mpidask.batch.job import BatchJob, Resources
from mpidask.batch.job_state import JobState
from mpidask.batch.queries.questions import parse_answer
from mpidask.batch.scripts.submit_command import job_script
from mpidask.batch.submission import handles
from mpidask.batch.template import fill, named
from mpidask.errors import BatchError, UsageError
from mpidask.quantities import seconds


def test_a_line_or_a_piece_of_one_is_left_out_when_a_field_is_not_set():
    lines = ("-q {queue}", ("-l nodes={nodes}", ":mem={memory:MiB}mb", ":gpus={gpus}"), "-t {time}")
    values = {"queue": None, "nodes": 2, "memory": 5 * 2**20 + 1, "gpus": None, "time": timedelta(seconds=3661)}
    assert fill(lines, values) == ["-l nodes=2:mem=6mb", "-t 01:01:01"]
    assert fill(lines, dict.fromkeys(values)) == fill(lines, dict.fromkeys(values, "")) == []
    assert named(lines) == set(values)


@pytest.mark.parametrize(
    ("unit", "text"), [("seconds", "3661"), ("minutes", "62"), ("HH:MM", "01:02"), ("", "01:01:01")]
)
def test_times_are_rounded_up(unit, text):
    line = f"{{time:{unit}}}" if unit else "{time}"
    assert fill([line], {"time": timedelta(seconds=3660.2)}) == [text]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1:30:00", 5400), ("1-12:00:00", 129600), ("90min", 5400), ("90 minutes", 5400), ("2h", 7200), ("45 s", 45)],
)
def test_walltimes(text, expected):
    assert settings.walltime(text).total_seconds() == expected


@pytest.mark.parametrize("text", ["90", "1:30", "", "soon", "-5min"])
def test_walltimes_that_are_refused(text):
    with pytest.raises(UsageError):
        settings.walltime(text)


def test_minutes_may_be_written_as_the_reference_says():
    assert seconds("5 min") == seconds("5mins") == seconds("5m") == 300


@pytest.fixture
def configured(tmp_path, monkeypatch):
    """Return a function that writes the section mpidask.batch of a configuration file and has it read."""

    def write(text):
        file = tmp_path / "mpidask.yaml"
        file.write_text(yaml.safe_dump({"mpidask": {"batch": yaml.safe_load(text)}}))
        monkeypatch.setattr(dask.config, "paths", [str(tmp_path)])
        stack.enter_context(dask.config.set(dask.config.collect(paths=[str(tmp_path)], env={})))
        return file

    with contextlib.ExitStack() as stack:
        yield write


def test_a_site_s_variant(configured):
    configured('systems: {ours: {like: slurm, launcher: hydra, options: ["-J {name}", ["-N {nodes}", " -C {queue}"]]}}')
    system = registry.find("ours")
    job = BatchJob(command=("python", "x.py"), resources=Resources(nodes=2))
    text = job_script(system, job)
    assert "#SBATCH -J mpidask\n#SBATCH -N 2\n" in text
    assert "mpiexec -n 2 -ppn 1 python x.py" in text
    assert system.submit == "sbatch --parsable {script}"
    assert "ours" in registry.names()


def test_a_whole_system(configured):
    configured("""
systems:
  ours:
    directive: "#OURS"
    options: ["-n {ranks}"]
    submit: "oursub {script}"
    job_id: "job (\\\\d+)"
    cancel: "ourdel {ids}"
    status: {command: "ourstat {ids}", row: "^(?P<id>\\\\d+) (?P<state>\\\\w+)$"}
    states: {RUNNING: "R", PENDING: "Q H", DONE: "E"}
""")
    system = registry.find("ours")
    assert "#OURS -n 4" in job_script(system, BatchJob(command=("x",), resources=Resources(ranks_per_node=4)))
    assert system.parse_job_id("job 17 accepted") == "17"
    assert parse_answer(system, system.status, "17 R\n18 Z")[0]["17"].state is JobState.RUNNING
    assert system.state("Z") is JobState.UNKNOWN


WRONG = {
    "an unknown key": ("systems: {ours: {like: slurm, optoins: []}}", "mpidask.batch.systems.ours.optoins", "options"),
    "an unknown field": ("systems: {ours: {like: slurm, options: ['-N {nods}']}}", "no such field: nods", "nodes"),
    "lines that are no list": ("systems: {ours: {like: slurm, options: '-N'}}", "systems.ours.options", "a list"),
    "too little": ("systems: {ours: {submit: x}}", "systems.ours lacks", "like: slurm"),
    "no mapping": ("systems: {ours: 3}", "systems.ours is 3", "a mapping"),
    "an unknown state": ("systems: {ours: {like: slurm, states: {SLEEPING: S}}}", "systems.ours.states", "PENDING"),
    "a wrong expression": ("systems: {ours: {like: slurm, job_id: '('}}", "cannot be used", ""),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_declaration_is_refused_with_its_file(configured, name):
    text, what, remedy = WRONG[name]
    file = configured(text)
    with pytest.raises(UsageError) as caught:
        registry.find("ours")
    assert what in caught.value.what
    assert f"(in {file}, line " in caught.value.what
    assert remedy in caught.value.remedy


def test_options_from_the_configuration(configured):
    file = configured("{account: abc, prologue: [module load x], ranks-per-node: 4}")
    options = settings.load({"account": None, "nodes": 2, "prologue": ()})
    assert (options.account, options.nodes, options.ranks_per_node) == ("abc", 2, 4)
    assert options.prologue == ("module load x",)
    assert settings.load({"account": "other"}).account == "other"
    configured("{walltime: '', queue: '', account: abc}")
    options = settings.load({"walltime": None})
    assert (options.walltime, options.queue, options.account) == (None, None, "abc"), "an empty text is none"
    with pytest.raises(UsageError, match="--walltime is given an empty text"):
        settings.load({"walltime": ""})
    configured("{acount: abc}")
    with pytest.raises(UsageError, match=r"mpidask\.batch\.acount") as caught:
        settings.load({})
    assert f"({file}, line " in caught.value.what


#: What makes each system known: the command that is asked, and what it prints.
ANSWERS = {
    "slurm": ("sinfo", "debug*"),
    "sge": ("qstat", "SGE 8.1.9"),
    "pbs": ("qstat", "pbs_version = 23.06.06"),
    "torque": ("qstat", "Version: 6.1.2"),
    "oar": ("oarsub", "OAR version : 2.5.9"),
    "lsf": ("lsid", "My cluster name is c1"),
    "htcondor": ("condor_q", "Total for query: 0 jobs; 0 completed"),
    "flux": ("flux", "12:00:00 run 1d"),
    "moab": ("msub", "Version: moab client 9.1.1"),
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Return a function that puts stand-in commands on PATH: name -> what they print, None for those that fail."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/nowhere")

    def put(commands):
        registry._detect.cache_clear()
        for name, text in commands.items():
            (tmp_path / name).write_text(f"#!/bin/sh\necho '{text or 'no answer'}'\nexit {0 if text else 1}\n")
            (tmp_path / name).chmod(0o755)

    with dask.config.set({"mpidask": {}}):
        yield put
    registry._detect.cache_clear()


@pytest.mark.parametrize("name", ANSWERS)
def test_the_system_that_answers_is_taken(here, name):
    command, text = ANSWERS[name]
    here({command: text})
    assert registry.find_here().name == name
    assert registry.find_here("local").name == "local"


def test_some_speak_for_others(here):
    here({"qstat": "Version: 6.1.2", "sinfo": "debug*", "condor_q": "Total for query: 0 jobs; 0 completed"})
    assert registry.find_here().name == "slurm"


def test_one_that_is_silent_is_passed_over_for_one_that_answers(here):
    here({"sinfo": None, "lsid": "My cluster name is c1"})
    assert registry.find_here().name == "lsf"
    here({"lsid": None})
    with pytest.raises(BatchError, match="Slurm are here, but do not answer"):
        registry.find_here()


def test_without_any_the_job_runs_here(here):
    here({})
    assert registry.find_here().name == "local"


def test_a_local_job_can_be_cancelled_at_once(tmp_path, monkeypatch):
    """A process takes a moment to get the session that the cancel command ends; here a long one."""
    slow = tmp_path / "setsid"
    slow.write_text(f'#!/bin/sh\nsleep 0.7\nexec {shutil.which("setsid")} "$@"\n')
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    options = settings.load({"state_directory": str(tmp_path / "state")})
    handle = handles.submit(BatchJob(command=("sleep", "60")), "local", options=options)
    handle.cancel()
    assert handle.wait(timeout=30) != 0
    assert (handle.state, handle.reason) == (JobState.CANCELLED, "cancelled by you")
