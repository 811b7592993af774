"""1,000 random sets of keywords: our option lines are dask-jobqueue's, but for differences that are listed with a reason.

What dask-jobqueue 0.9.0 makes of them is recorded by option_lines.py.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter

import dask
import pytest
from jobqueue.option_lines import COUNT, draw, recorded

from mpidask import jobqueue
from mpidask.errors import ArgumentError
from mpidask.jobqueue.keywords import configuration

pytestmark = pytest.mark.one_mpi

CLASSES = {
    "slurm": jobqueue.SLURMJob,
    "pbs": jobqueue.PBSJob,
    "moab": jobqueue.MoabJob,
    "sge": jobqueue.SGEJob,
    "lsf": jobqueue.LSFJob,
    "oar": jobqueue.OARJob,
    "htcondor": jobqueue.HTCondorJob,
}
MARKS = {"slurm": "#SBATCH", "pbs": "#PBS", "moab": "#PBS", "sge": "#$", "lsf": "#BSUB", "oar": "#OAR"}


def skipped(given, line):
    return any(each in line for each in given.get("job_directives_skip") or given.get("header_skip") or [])


def directives(given):
    return given.get("job_extra_directives") or given.get("job_extra") or []


def text_for_a_list(system, given, lines):
    """A text where option lines are meant is one line here; there each letter is one."""
    text = directives(given)
    if not isinstance(text, str):
        return lines
    letters = [f"{MARKS[system]} {letter}" for letter in text]
    at = next(i for i in range(len(lines)) if lines[i : i + len(letters)] == letters)
    rest = lines[at + len(letters) :]
    if system == "oar" and text.startswith("-p "):  # OAR reads one line of properties: the last has all
        rest = [re.sub(r"-p (mem_?core>=\d+)", rf"-p '{text[3:]} AND \1'", line) for line in rest]
    return [*lines[:at], f"{MARKS[system]} {text}", *rest]


def shell(system, given, lines):
    """PBS, Moab and Grid Engine are told the shell that the first line names: they do not read that line."""
    if system not in ("pbs", "moab", "sge"):
        return lines
    path = given.get("shebang", "#!/usr/bin/env bash").removeprefix("#!").removeprefix("/usr/bin/env ")
    line = f"{MARKS[system]} -S {path if path.startswith('/') else f'/bin/{path}'}"
    return lines if skipped(given, line) else [line, *lines]


def logs_of_lsf(system, given, lines):
    """LSF's logs are named after the job here, as other systems' are; there after a worker."""
    if system != "lsf" or "log_directory" not in given:
        return lines
    name = given.get("job_name", "dask-worker")
    return [re.sub(r"^(#BSUB -[eo] .*)/w-0-%J", rf"\1/{name}-%J", line) for line in lines]


def logs_of_oar(system, given, lines):
    """OAR is told the directory of logs here; there it is made, and nothing is left in it."""
    if system != "oar" or "log_directory" not in given:
        return lines
    base = f"{given['log_directory']}/{given.get('job_name', 'dask-worker')}-%jobid%"
    added = [f"#OAR -O {base}.out", f"#OAR -E {base}.err"]
    at = len([line for line in lines if re.match(r"#OAR (-n|-q|--project|-l) ", line)])
    return [*lines[:at], *(line for line in added if not skipped(given, line)), *lines[at:]]


def processes_without_cores(system, given, lines):
    """More workers than cores are refused; there each gets no thread."""
    return "ArgumentError" if given.get("processes", 1) > given["cores"] else lines


#: In this order.
DIFFERENCES = [text_for_a_list, shell, logs_of_lsf, logs_of_oar, processes_without_cores]


def ours(system, given):
    try:
        return lines(system, given)
    except ArgumentError as error:
        return type(error).__name__


def lines(system, given):
    return CLASSES[system]("tcp://10.0.0.1:8786", "w-0", **given).job_header.splitlines()


@pytest.fixture
def nobodys_configuration(monkeypatch, tmp_path):
    for name in ("PBS_ACCOUNT", "LSF_ENVDIR", "LSF_CONFDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    with dask.config.set({"jobqueue": configuration.defaults()}), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # old names
        yield


def test_option_lines_are_dask_jobqueue_s_but_for_listed_differences(nobodys_configuration):
    seen = Counter()
    wrong = []
    for system, given, theirs in recorded():
        expected = theirs
        for difference in DIFFERENCES:
            before, expected = expected, difference(system, given, expected)
            seen[difference.__name__] += expected != before
        found = ours(system, given)
        if found != expected:
            wrong.append((system, given, expected, found))
    assert wrong == []
    assert all(seen[difference.__name__] for difference in DIFFERENCES), f"a difference that is none any more: {seen}"
    assert all(difference.__doc__ for difference in DIFFERENCES)


def test_what_is_recorded_is_what_is_drawn():
    import json

    sets = [[system, given] for system, given, _ in recorded()]
    assert sets == [json.loads(json.dumps(draw(number))) for number in range(COUNT)]
    assert Counter(system for system, _ in sets).keys() == CLASSES.keys()
