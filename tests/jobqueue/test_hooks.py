"""Classes that are derived from ours: what they override takes effect, or is refused with what to do instead."""

from __future__ import annotations

from pathlib import Path

import dask
import pytest

from mpidask.errors import ArgumentError
from mpidask.jobqueue import HTCondorJob, Job, PBSJob, SLURMCluster, SLURMJob, hooks, keywords
from mpidask.jobqueue.core import JobQueueCluster, cluster_parameters, job_parameters
from mpidask.jobqueue.job_spec import Place

pytestmark = pytest.mark.one_mpi

GIVEN = {"scheduler": "tcp://10.0.0.1:8786", "name": "w-0", "cores": 4, "memory": "8GB", "processes": 1}
SIZE = {"cores": 4, "memory": "8GB"}


@pytest.fixture(autouse=True)
def nobodys_configuration(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    quiet = {"jobqueue.slurm.scheduler-options": {"dashboard_address": "127.0.0.1:0"}}
    with dask.config.set({"jobqueue": keywords.defaults()}), dask.config.set(quiet):
        yield


def derived(base, **attributes):
    return type("Mine", (base,), {"__module__": __name__, **attributes})


# What takes effect.


def test_the_header_is_that_of_the_class_in_what_is_submitted():
    class Mine(SLURMJob):
        @property
        def job_header(self):
            return super().job_header.replace("dask-worker", "mine") + "\n#SBATCH --nice"

    job = Mine(**GIVEN)
    assert job.job_script().splitlines()[2] == "#SBATCH -J mine"
    place = Place(Path("/logs"), 3)
    assert "#SBATCH --nice\n" in job.text(job.description, place)
    assert not job.description.arrays(Place(Path("/logs"), 3, 10)), "each job has its own"


def test_the_script_is_that_of_the_class_in_what_is_submitted():
    class Mine(SLURMJob):
        def job_script(self):
            return super().job_script().replace("#SBATCH -n 1\n", "")

    job = Mine(**GIVEN)
    job.directory = Path("/logs")
    text = job.text(job.description, Place(Path("/logs"), 0))
    assert "-n 1" not in text and "/logs/$job.status" in text
    assert not job.description.arrays(Place(Path("/logs"), 3, 10))


def test_threads_and_memory_are_those_of_the_class():
    class Mine(SLURMJob):
        @property
        def worker_process_threads(self):
            return 2 * super().worker_process_threads

        worker_process_memory = "3 GiB"

    job = Mine(**GIVEN)
    assert " --nthreads 8 --memory-limit 3GiB " in job.job_script()
    assert (job.worker_process_threads, job.description.threads) == (8, 8), "it is not doubled again"


def test_attributes_are_defaults_and_properties_count():
    class Mine(SLURMJob):
        log_directory = "logs"
        queue = "gpu"

        @property
        def shebang(self):
            return super().shebang + " -l"

    job = Mine(**GIVEN, log_directory=None, job_directives_skip=["-e", "-o"])
    assert job.job_script().startswith("#!/usr/bin/env bash -l\n")
    assert "#SBATCH -p gpu" in job.job_header
    assert job.description.keywords["log_directory"] == "logs"
    assert "#SBATCH -p other" in Mine(**GIVEN, queue="other").job_header
    with pytest.raises(ArgumentError, match=r"memory is 16 \(class Mine\)"):
        derived(SLURMJob, memory=16)("tcp://10.0.0.1:8786", "w", cores=1)


def test_further_words_of_the_class_s_commands_are_passed_on():
    job = derived(SLURMJob, submit_command="sbatch --clusters=serial", cancel_command="scancel -M serial")(
        **GIVEN, submit_command_extra=["-v"]
    )
    assert job.description.keywords["submit_command_extra"] == ["--clusters=serial", "-v"]
    assert job.description.keywords["cancel_command_extra"] == ["-M", "serial"]
    assert (SLURMJob(**GIVEN).submit_command, PBSJob(**GIVEN).cancel_command) == ("sbatch", "qdel")


def test_what_is_set_in_our_class_counts_like_what_a_derived_one_sets(monkeypatch):
    monkeypatch.setattr(SLURMJob, "submit_command", "sbatch -M serial", raising=False)
    assert SLURMJob(**GIVEN).description.keywords["submit_command_extra"] == ["-M", "serial"]


def test_htcondor_s_executable_and_attributes():
    class Mine(HTCondorJob):
        executable = "/bin/bash"

        @property
        def job_header_dict(self):
            return {**super().job_header_dict, "Rank": "Memory"}

    text = Mine(**GIVEN, disk="1GB").job_script()
    assert "\nExecutable = /bin/bash\n" in text and "\nRank = Memory\n" in text


def test_htcondor_s_attributes_may_be_changed_after_init():
    class Changed(HTCondorJob):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.job_header_dict.update({"+MaxRuntime": 3600, "batch_name": "mine"})
            self.job_header_dict.pop("Stream_Output")

    class Assigned(HTCondorJob):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.job_header_dict = {**self.job_header_dict, "+MaxRuntime": 3600, "batch_name": "mine"}
            del self.job_header_dict["Stream_Output"]

    for kind in (Changed, Assigned):
        job = kind(**GIVEN, disk="1GB", log_directory="logs")
        for text in (job.job_script(), job.text(job.description, Place(Path("/logs"), 3)), job.job_header):
            assert "+MaxRuntime = 3600" in text and "batch_name = mine" in text and "Stream_Error" in text
            assert "Stream_Output" not in text


def test_htcondor_s_attributes_that_nobody_has_changed_follow_the_job():
    class Mine(HTCondorJob):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.job_header_dict["+MaxRuntime"] = 3600

    job = Mine(**GIVEN, disk="1GB")
    assert "LogDirectory" not in job.job_header
    job.directory, job.name = Path("/logs"), "w-7"
    assert {"LogDirectory = /logs", "batch_name = w-7", "+MaxRuntime = 3600"} < set(job.job_header.splitlines())


def test_an_own_property_of_htcondor_s_attributes_is_given_a_dict_of_its_own():
    class Mine(HTCondorJob):
        @property
        def job_header_dict(self):
            found = super().job_header_dict
            found["Rank"] = found.get("Rank", "Memory") + " + Cpus"
            return found

    job = Mine(**GIVEN, disk="1GB")
    assert "Rank = Memory + Cpus\n" in job.job_script() == job.job_script()


def test_a_cluster_class_has_its_jobs_class_and_its_section():
    class Mine(SLURMCluster):
        job_cls = derived(SLURMJob, job_script=lambda self: "mine\n")
        config_name = "mine"

    with (
        dask.config.set(
            {"jobqueue.mine": {**SIZE, "queue": "fat", "scheduler-options": {"dashboard_address": "127.0.0.1:0"}}}
        ),
        Mine() as cluster,
    ):
        assert cluster.job_script() == "mine\n"
        assert "#SBATCH -p fat" in cluster.job_header
    other = derived(SLURMJob)
    with SLURMCluster(job_cls=other, **SIZE) as cluster:
        assert cluster.job_cls is other


def test_workers_are_named_as_the_cluster_s_class_says():
    class Mine(SLURMCluster):
        def _new_worker_name(self, worker_number):
            return f"w{worker_number}x"

    with Mine(**SIZE) as cluster:
        specs = cluster.new_worker_spec() | cluster.new_worker_spec()
    assert [(name, spec["number"]) for name, spec in specs.items()] == [("w0x", 0), ("w1x", 1)]
    kinds = {SLURMJob("tcp://10.0.0.1:8786", name, number=i, **SIZE).kind for i, name in enumerate(specs)}
    assert len(kinds) == 2, "they are no array, which could not name them"


def test_a_cluster_takes_its_arguments_by_position():
    with SLURMCluster(0, None, None, False, None, "error", "mine", False, **SIZE) as cluster:
        assert cluster.name == "mine"
        assert cluster.scheduler_address.startswith("tcp://")


# What is refused.


@pytest.mark.parametrize("name", hooks.REFUSED)
def test_what_has_no_effect_is_refused(name):
    with pytest.raises(ArgumentError, match=f"{name} of the class Mine has no effect") as caught:
        derived(SLURMJob, **{name: lambda *_: None})(**GIVEN)
    assert caught.value.remedy


@pytest.mark.parametrize("name", hooks.REFUSED_IN_CLUSTERS)
def test_what_has_no_effect_in_a_cluster_is_refused(name):
    with pytest.raises(ArgumentError, match=f"{name} of the class Mine has no effect"):
        derived(SLURMCluster, **{name: "x"})(**SIZE)


@pytest.mark.parametrize("name", [*hooks.ATTRIBUTES, "job_header", "submit_command", "_command_template"])
def test_what_is_assigned_to_a_job_is_refused(name):
    class Mine(SLURMJob):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.mine = 1
            setattr(self, name, "x")

    with pytest.raises(ArgumentError, match=f"{name} is assigned to a job of the class Mine") as caught:
        Mine(**GIVEN)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("base", "attributes", "words"),
    [
        (SLURMJob, {"submit_command": "ssh login sbatch"}, "another program than sbatch"),
        (SLURMJob, {"cancel_command": None}, "another program than scancel"),
        (SLURMJob, {"executable": "/bin/sh"}, "executable of the class Mine has no effect"),
    ],
)
def test_other_commands_are_refused(base, attributes, words):
    with pytest.raises(ArgumentError, match=words):
        derived(base, **attributes)(**GIVEN)


def test_other_arguments_by_position_and_other_classes_are_refused():
    with pytest.raises(ArgumentError, match="takes scheduler and name by position"):
        SLURMJob("tcp://10.0.0.1:8786", "w-0", "queue", **SIZE)
    with pytest.raises(ArgumentError, match="job_cls is"):
        SLURMCluster(job_cls=int, **SIZE)


def test_our_own_classes_override_nothing():
    for kind in [Job, *Job.__subclasses__(), JobQueueCluster, *JobQueueCluster.__subclasses__()]:
        if kind.__module__.startswith("mpidask."):
            assert hooks.own(kind, (*hooks.HONOURED, *hooks.REFUSED, *hooks.REFUSED_IN_CLUSTERS)) == {}


def test_texts_for_docstrings_of_derived_classes_are_there():
    assert "cores :" in job_parameters
    assert "n_workers" in cluster_parameters
