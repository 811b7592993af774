"""What may be a keyword's value: what users and YAML write is read, what cannot be meant is refused."""

from __future__ import annotations

import shlex
import warnings
from datetime import date, timedelta
from pathlib import Path

import dask
import pytest
import yaml
from dask.utils import parse_timedelta

from mpidask import quantities
from mpidask.errors import ArgumentError
from mpidask.jobqueue import HTCondorJob, LSFJob, SLURMCluster, SLURMJob
from mpidask.jobqueue.jobs.worker_command import worker_command
from mpidask.jobqueue.keywords import configuration, table

pytestmark = [pytest.mark.one_mpi, pytest.mark.usefixtures("nobodys_place")]

SIZE = {"cores": 4, "memory": "8GB"}


def settled(kind=SLURMJob, **given):
    return kind("tcp://10.0.0.1:8786", "w-0", **{**SIZE, **given}).spec.keywords


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("memory", 16, "that is 16 bytes|did you mean '16 GB'"),
        ("memory", "16", "that is 16 bytes|did you mean '16 GB'"),
        ("memory", 0.5, "a size"),
        ("memory", ["8GB"], "a size"),
        ("walltime", 43200, "a number|'12:00:00' in quotes"),
        ("walltime", timedelta(hours=1), "a time in quotes"),
        ("cores", 4.5, "a whole number"),
        ("cores", True, "a whole number"),
        ("cores", "four", "a whole number"),
        ("processes", 0, "less than 1"),
        ("nodes", -1, "less than 1"),
        ("queue", False, "quote it"),
        ("queue", ["a", "b"], "text is needed"),
        ("job_name", date(2026, 1, 1), "a date|quote it"),
        ("account", "a\nb", "several lines"),
        ("nanny", "no", "True or False"),
        ("shebang", "/bin/bash", "did you mean '#!/bin/bash'"),
        ("death_timeout", "soon", "a time"),
        ("death_timeout", "", "a time"),
        ("lifetime_margin", -60, "a time"),
        ("poll_interval", True, "a time"),
        ("job_extra_directives", [None], "None in it|quote it"),
        ("job_extra_directives", [{"--qos": "high"}], "quote the line: '--qos: high'"),
        ("job_extra_directives", {"--exclusive": True}, "write the line itself"),
        ("job_extra_directives", 4, "a list of option lines"),
        ("job_script_prologue", {"module": "load"}, "a list of texts"),
        ("worker_extra_args", [["--lifetime", "55m"]], "quote it"),
        ("submit_command_extra", "-M 'x", "closing quotation"),
        ("resources", ["GPU"], "a mapping"),
        ("resources", {"GPU": "many"}, "a number"),
    ],
)
def test_what_cannot_be_meant_is_refused(name, value, words):
    with pytest.raises(ArgumentError) as caught:
        settled(**{name: value})
    assert f"{name} is {value!r} (argument of SLURMCluster)" in caught.value.what
    for each in words.split("|"):
        assert each in f"{caught.value.what} {caught.value.remedy}"
    with dask.config.set({f"jobqueue.slurm.{table.KEYWORDS[name].path}": value}), pytest.raises(ArgumentError):
        SLURMJob("tcp://10.0.0.1:8786", "w-0", **{each: SIZE[each] for each in SIZE if each != name})


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (60, "60"),
        (1.5, "1.5"),
        ("60", "60"),
        ("60s", "60s"),
        ("2m", "2m"),
        ("5 min", "300"),
        ("5min", "300"),
        (" 2 h", "7200"),
    ],
)
def test_a_time_is_one_word_of_the_worker_s_command_that_dask_reads(given, word):
    command = worker_command(SLURMJob("tcp://10.0.0.1:8786", "w-0", death_timeout=given, **SIZE).spec)
    words = shlex.split(command)
    assert words[words.index("--death-timeout") + 1] == word
    assert words[words.index("--death-timeout") + 2].startswith("--")
    assert parse_timedelta(word) == quantities.seconds(str(given))


def test_an_empty_directory_is_none():
    command = worker_command(SLURMJob("tcp://10.0.0.1:8786", "w-0", local_directory="", **SIZE).spec)
    assert "--local-directory" not in command


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("memory", 16 * 10**9, 16 * 10**9),
        ("memory", "8g", "8g"),
        ("cores", "8", 8),
        ("cores", 8.0, 8),
        ("processes", " 2 ", 2),
        ("account", 12345, "12345"),
        ("walltime", "90", "90"),
        ("job_mem", 0, "0"),
        ("log_directory", Path("logs"), "logs"),
        ("nanny", 0, False),
        ("queue", "gpu\n", "gpu"),
        ("account", ["abc_1"], "abc_1"),
        ("job_extra_directives", "--qos=debug", ["--qos=debug"]),
        ("job_extra_directives", "--qos=debug\n--exclusive\n", ["--qos=debug", "--exclusive"]),
        ("job_extra_directives", ["--qos=debug\n--exclusive", ""], ["--qos=debug", "--exclusive"]),
        ("job_extra_directives", {"-C geyser": None, "--qos": "high", "-N": 2}, ["-C geyser", "--qos high", "-N 2"]),
        ("job_directives_skip", "--mem", ["--mem"]),
        ("job_directives_skip", {"--mem", "-n"}, ["--mem", "-n"]),
        ("job_directives_skip", ["", "-t"], ["-t"]),
        ("job_script_prologue", "module load python", ["module load python"]),
        ("job_script_prologue", ("a=1", "f() {\n:\n}"), ["a=1", "f() {\n:\n}"]),
        ("worker_extra_args", ["--nthreads", 4], ["--nthreads", "4"]),
        ("submit_command_extra", "--clusters=serial -v", ["--clusters=serial", "-v"]),
        ("resources", '{"GPU": 1}', {"GPU": 1}),
    ],
)
def test_what_is_meant_is_read(name, value, found):
    result = settled(log_directory=None, **{name: value}) if name != "log_directory" else settled(**{name: value})
    assert result[name] == found


def test_the_example_of_dask_jobqueue_s_documentation_has_no_text_none(tmp_path):
    given = yaml.safe_load("job-extra: {-C geyser, --qos: high}")
    with (
        dask.config.set({"jobqueue.slurm": {**configuration.defaults()["slurm"], **given}}),
        pytest.warns(FutureWarning),
    ):
        header = SLURMJob("tcp://10.0.0.1:8786", "w-0", **SIZE).job_header
    assert "#SBATCH -C geyser\n#SBATCH --qos high" in header
    assert "None" not in header


def test_a_time_that_yaml_has_read_as_a_number_is_refused_with_its_file(tmp_path, monkeypatch):
    file = tmp_path / "site.yaml"
    file.write_text("jobqueue: {slurm: {walltime: 12:00:00}}\n")
    monkeypatch.setattr(dask.config, "paths", [str(tmp_path)])
    with dask.config.set(yaml.safe_load(file.read_text())), pytest.raises(ArgumentError) as caught:
        settled()
    assert caught.value.what.startswith(f"walltime is 43200 (jobqueue.slurm.walltime in {file}, line 1)")
    assert "'12:00:00' in quotes" in caught.value.remedy
    monkeypatch.setenv("DASK_JOBQUEUE__SLURM__WALLTIME", "43200")
    with dask.config.set({"jobqueue.slurm.walltime": 43200}), pytest.raises(ArgumentError, match="in DASK_JOBQUEUE__"):
        settled()


def test_a_null_in_the_configuration_is_nothing_or_the_default():
    nothing = {each.path: None for each in table.known("slurm")}
    with dask.config.set({"jobqueue.slurm": nothing}):
        found = settled()
    assert (found["walltime"], found["queue"], found["death_timeout"]) == (None, None, None)
    assert (found["job_extra_directives"], found["nodes"], found["shebang"]) == ([], 1, "#!/usr/bin/env bash")


def test_a_section_that_is_no_mapping_is_refused():
    with dask.config.set({"jobqueue.slurm": "fast"}), pytest.raises(ArgumentError, match=r"jobqueue\.slurm is 'fast'"):
        settled()


def test_lsf_s_memory_is_a_size():
    assert settled(LSFJob, mem="16GB")["mem"] == 16 * 10**9
    assert settled(LSFJob, mem=10**9)["mem"] == 10**9, "its unit is bytes"
    with pytest.raises(ArgumentError, match="mem is 'much'"):
        settled(LSFJob, mem="much")


def test_attributes_of_htcondor_are_texts_or_numbers():
    assert settled(HTCondorJob, disk="1GB", job_extra_directives={"Stream_Output": True})
    for wrong in ({"Rank": None}, {"Rank": ["a"]}, "Rank = 1", ["Rank = 1"]):
        with pytest.raises(ArgumentError, match="job_extra_directives is"):
            settled(HTCondorJob, disk="1GB", job_extra_directives=wrong)


def test_what_the_cluster_itself_needs_has_types():
    for given in ({"scheduler_options": "x"}, {"interface": True}, {"groups": {"a": 1}}, {"remote_scheduler": "yes"}):
        with pytest.raises(ArgumentError, match=f"{next(iter(given))} is"):
            SLURMCluster(**SIZE, **given)


def test_old_names_warn_once_at_the_user_s_line():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        given = {"env_extra": ["a=1"], "project": "p", "groups": {"large": {"cores": 8}}}
        with SLURMCluster(**SIZE, **given) as cluster:
            cluster.job_script()
            assert cluster.job_header
    said = [each for each in caught if each.category is FutureWarning]
    assert sorted(str(each.message).split()[0] for each in said) == ["env_extra", "project"]
    assert {each.filename for each in said} == {__file__}
