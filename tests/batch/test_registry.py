"""Systems that the configuration declares, and which one is here."""

from __future__ import annotations

import dask
import pytest

from mpidask.batch import registry
from mpidask.batch.job import BatchJob, Resources
from mpidask.batch.job_state import JobState
from mpidask.batch.queries.questions import parse_answer
from mpidask.batch.scripts.submit_command import job_script
from mpidask.errors import BatchError, UsageError


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
