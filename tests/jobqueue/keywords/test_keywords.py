"""Where the value of a keyword comes from, and the configuration file that says so."""

from __future__ import annotations

import copy
import re

import dask
import pytest
import yaml

from mpidask.errors import ArgumentError
from mpidask.jobqueue import Job, MoabJob, OARJob, PBSJob, SGEJob, SLURMCluster, SLURMJob
from mpidask.jobqueue.keywords import configuration, table

pytestmark = pytest.mark.one_mpi

SIZE = {"cores": 4, "memory": "8GB"}


@pytest.fixture(autouse=True)
def nobodys_configuration(monkeypatch):
    """The defaults count, whatever whoever runs the tests has configured."""
    monkeypatch.delenv("PBS_ACCOUNT", raising=False)
    with dask.config.set({"jobqueue": configuration.defaults()}):
        yield


def settled(kind=SLURMJob, **given):
    return kind("tcp://10.0.0.1:8786", "w-0", **{**SIZE, **given}).spec.keywords


# Precedence.


def test_a_keyword_goes_before_the_configuration_which_goes_before_the_default():
    assert settled()["walltime"] == "00:30:00"
    with dask.config.set({"jobqueue.slurm.walltime": "02:00:00"}):
        assert settled()["walltime"] == "02:00:00"
        assert settled(walltime="03:00:00")["walltime"] == "03:00:00"
        assert settled(walltime=None)["walltime"] == "02:00:00", "None counts as not given"
    assert settled()["walltime"] == "00:30:00"


@pytest.mark.parametrize(
    ("name", "configured", "given"),
    [
        ("nanny", True, False),
        ("lifetime_margin", 600, 0),
        ("job_extra_directives", ["-x"], []),
        ("job_script_prologue", ["module load x"], []),
        ("resources", {"GPU": 1}, {}),
    ],
)
def test_an_empty_value_is_given_too(name, configured, given):
    with dask.config.set({f"jobqueue.slurm.{name.replace('_', '-')}": configured}):
        assert settled()[name] == configured
        assert settled(**{name: given})[name] == given


def test_keys_may_have_dashes_or_underscores():
    with dask.config.set({"jobqueue.slurm.death_timeout": 7}):
        assert settled()["death_timeout"] == 7


def test_the_job_s_name_is_called_name_in_the_configuration():
    with dask.config.set({"jobqueue.slurm.name": "ours"}):
        assert settled()["job_name"] == "ours"
        assert settled(job_name="mine")["job_name"] == "mine"


def test_cores_and_memory_may_come_from_the_configuration():
    with dask.config.set({"jobqueue.slurm.cores": 24, "jobqueue.slurm.memory": "100GB"}):
        job = SLURMJob("tcp://10.0.0.1:8786", "w-0", processes=6)
    assert (job.worker_cores, job.worker_process_threads) == (24, 4)


@pytest.mark.parametrize("native", table.SECTIONS)
def test_every_section_has_a_default_for_every_keyword_of_its_system(native):
    section = configuration.defaults()[native]
    assert list(section) == [each.path for each in table.known(native)]
    assert all(dask.config.get(f"jobqueue.{native}.{path}") == value for path, value in section.items())


def test_what_users_of_dask_jobqueue_ask_dask_config_for_is_there():
    assert dask.config.get("jobqueue.pbs.death-timeout") == 60
    assert dask.config.get("jobqueue.lsf.walltime") == "00:30"
    assert dask.config.get("jobqueue.htcondor.job-extra-directives") == {}
    assert dask.config.get("jobqueue.slurm.shebang") == "#!/usr/bin/env bash"


# Sections of one's own.


def test_a_section_of_one_s_own_is_chosen_by_its_name():
    with dask.config.set({"jobqueue.bigmem": {"cores": 64, "memory": "2TB", "queue": "fat"}}):
        job = SLURMJob("tcp://10.0.0.1:8786", "w-0", config_name="bigmem")
    found = job.spec.keywords
    assert (job.config_name, found["queue"], found["cores"]) == ("bigmem", "fat", 64)
    assert found["walltime"] == "00:30:00", "what it does not say is the system's default"


def test_a_class_of_one_s_own_has_its_section_and_its_system():
    class OurJob(SLURMJob):
        config_name = "ours"

    with dask.config.set({"jobqueue.ours": {"queue": "gpu"}}):
        job = OurJob("tcp://10.0.0.1:8786", "w-0", **SIZE)
    assert "#SBATCH -p gpu" in job.job_header
    assert job.system.name == "slurm"


def test_a_class_without_a_section_is_told_how_to_name_one():
    with pytest.raises(ArgumentError, match="no config_name is set in the class Job") as caught:
        Job("tcp://10.0.0.1:8786", "w-0", **SIZE)
    assert "config_name" in caught.value.remedy


# Old names.

OLD = {
    "extra": ("worker_extra_args", ["--a"], ["--b"]),
    "env_extra": ("job_script_prologue", ["module load a"], ["module load b"]),
    "header_skip": ("job_directives_skip", ["-n 1"], ["-t"]),
    "job_extra": ("job_extra_directives", ["-a"], ["-b"]),
}


def test_all_old_names_are_tried_here():
    assert {old: new for old, (new, _, _) in OLD.items()} == table.RENAMED


@pytest.mark.parametrize("old", OLD)
def test_an_old_keyword_warns_and_counts_where_the_new_one_is_not_given(old):
    new, value, other = OLD[old]
    message = f"^{old} has been renamed to {new}"
    with pytest.warns(FutureWarning, match=message):
        assert settled(**{old: value})[new] == value
    with pytest.warns(FutureWarning, match=message):
        assert settled(**{old: value, new: other})[new] == other
    configured = {f"jobqueue.slurm.{new.replace('_', '-')}": other}
    with dask.config.set(configured), pytest.warns(FutureWarning, match=message):
        assert settled(**{old: value})[new] == other


@pytest.mark.parametrize("old", OLD)
def test_an_old_key_of_the_configuration_warns_and_counts_where_the_new_one_is_not_set(old):
    new, value, other = OLD[old]
    section = f"jobqueue.slurm.{old.replace('_', '-')}"
    with dask.config.set({section: value}):
        with pytest.warns(FutureWarning, match=f"^{old} has been renamed to {new}"):
            assert settled()[new] == value
        with pytest.warns(FutureWarning):
            assert settled(**{new: other})[new] == other
        with dask.config.set({f"jobqueue.slurm.{new.replace('_', '-')}": other}), pytest.warns(FutureWarning):
            assert settled()[new] == other


@pytest.mark.parametrize("kind", [SLURMJob, PBSJob, MoabJob])
def test_project_is_the_old_name_of_account(kind):
    with pytest.warns(FutureWarning, match="^project has been renamed to account"):
        assert settled(kind, project="p")["account"] == "p"
    with pytest.warns(FutureWarning):
        assert settled(kind, project="p", account="a")["account"] == "a"
    with dask.config.set({f"jobqueue.{kind.config_name}.project": "p"}):
        with pytest.warns(FutureWarning):
            assert settled(kind)["account"] == "p"
        with pytest.warns(FutureWarning):
            assert settled(kind, account="a")["account"] == "a"


def test_elsewhere_a_project_is_a_project():
    assert settled(SGEJob, project="p")["project"] == "p"
    with pytest.raises(ArgumentError, match="'account'"):
        settled(SGEJob, account="a")


# What is refused.


@pytest.mark.parametrize(
    ("kind", "name", "remedy"),
    [
        (SLURMJob, "wall_time", "did you mean walltime"),
        (SLURMJob, "job_script_prolog", "job_script_prologue"),
        (PBSJob, "job_cpus", "there are: |did you mean"),
        (SLURMJob, "zzzz", "there are: job_name, cores, memory"),
        (PBSJob, "lsf_units", ""),
    ],
)
def test_an_unknown_keyword_is_refused_with_those_that_are_near(kind, name, remedy):
    with pytest.raises(
        ValueError, match=f"unexpected keyword argument '{name}' of {kind.__name__[:-3]}Cluster"
    ) as caught:
        settled(kind, **{name: 1})
    assert isinstance(caught.value, ArgumentError)
    assert f"{name}=1" in caught.value.what, "with what was given, as dask-jobqueue says it"
    assert re.search(remedy, caught.value.remedy)


@pytest.mark.parametrize("given", [{}, {"cores": 4}, {"memory": "8GB"}])
def test_cores_and_memory_are_needed(given):
    with pytest.raises(ArgumentError, match="cores and memory of each job are needed") as caught:
        PBSJob("tcp://10.0.0.1:8786", "w-0", **given)
    cores, memory = given.get("cores", 8), given.get("memory", "24GB")
    assert f"PBSCluster(cores={cores}, memory={memory!r})" in caught.value.what
    assert "jobqueue.pbs" in caught.value.remedy


def test_the_section_of_one_s_own_is_where_cores_and_memory_are_missed():
    with pytest.raises(ArgumentError) as caught:
        OARJob("tcp://10.0.0.1:8786", "w-0", config_name="ours")
    assert "jobqueue.ours" in caught.value.remedy


def test_the_docstring_names_every_keyword():
    for each in table.known("slurm"):
        assert f"\n{each.name} : " in SLURMCluster.__doc__
    assert "memory_per_core_property_name" not in SLURMCluster.__doc__


# The file.


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Be a user whose dask.config is in a directory of the test's."""
    monkeypatch.setattr(dask.config, "PATH", str(tmp_path))
    before = copy.deepcopy(dask.config.config), list(dask.config.defaults)
    yield tmp_path
    dask.config.config.clear()
    dask.config.config.update(before[0])
    dask.config.defaults[:] = before[1]


def test_a_commented_file_is_written_once_and_never_overwritten(home):
    configuration.install()
    file = home / "jobqueue.yaml"
    text = file.read_text()
    assert text.count("Seconds after which a worker without a scheduler ends.") == len(table.SECTIONS)
    assert yaml.safe_load(text) is None, "all of it is a comment"
    file.write_text("jobqueue: {slurm: {queue: mine}}\n")
    configuration.install()
    assert file.read_text() == "jobqueue: {slurm: {queue: mine}}\n"


def test_the_file_says_what_holds_without_it(home):
    configuration.install()
    text = (home / "jobqueue.yaml").read_text()
    lines = [line.removeprefix("# ") for line in text.splitlines()]
    assert yaml.safe_load("\n".join(lines)) == {"jobqueue": configuration.defaults()}
    assert yaml.safe_load(configuration.template()) == {"jobqueue": configuration.defaults()}


def test_a_home_that_cannot_be_written_is_no_obstacle(tmp_path, monkeypatch, home):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(dask.config, "PATH", str(tmp_path / "file" / "dask"))
    configuration.install()
    assert dask.config.get("jobqueue.pbs.death-timeout") == 60


def test_what_the_user_has_set_stays_when_defaults_are_installed(home):
    with dask.config.set({"jobqueue.slurm.queue": "mine"}):
        configuration.install()
        assert settled()["queue"] == "mine"
