"""Classes that are derived from ours: what they override takes effect, or is refused with what to do instead."""

from __future__ import annotations

import re
from pathlib import Path

import dask
import pytest

from mpidask.errors import ArgumentError
from mpidask.jobqueue import HTCondorJob, Job, PBSJob, SLURMCluster, SLURMJob
from mpidask.jobqueue.core import JobQueueCluster, cluster_parameters, job_parameters
from mpidask.jobqueue.htcondor import quote_arguments, quote_environment
from mpidask.jobqueue.jobs import hooks
from mpidask.jobqueue.jobs.spec import JobRange
from mpidask.jobqueue.lsf import lsf_detect_units, lsf_format_bytes_ceil
from mpidask.jobqueue.pbs import pbs_format_bytes_ceil
from mpidask.jobqueue.slurm import slurm_format_bytes_ceil

pytestmark = [pytest.mark.one_mpi, pytest.mark.usefixtures("nobodys_place")]

GIVEN = {"scheduler": "tcp://10.0.0.1:8786", "name": "w-0", "cores": 4, "memory": "8GB", "processes": 1}
SIZE = {"cores": 4, "memory": "8GB"}


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
    job_range = JobRange(Path("/logs"), 3)
    assert "#SBATCH --nice\n" in job.text(job.spec, job_range)
    assert not job.spec.arrays(JobRange(Path("/logs"), 3, 10)), "each job has its own"


def test_the_script_is_that_of_the_class_in_what_is_submitted():
    class Mine(SLURMJob):
        def job_script(self):
            return super().job_script().replace("#SBATCH -n 1\n", "")

    job = Mine(**GIVEN)
    job.directory = Path("/logs")
    text = job.text(job.spec, JobRange(Path("/logs"), 0))
    assert "-n 1" not in text and "/logs/$job.status" in text
    assert not job.spec.arrays(JobRange(Path("/logs"), 3, 10))


def test_threads_and_memory_are_those_of_the_class():
    class Mine(SLURMJob):
        @property
        def worker_process_threads(self):
            return 2 * super().worker_process_threads

        worker_process_memory = "3 GiB"

    job = Mine(**GIVEN)
    assert " --nthreads 8 --memory-limit 3GiB " in job.job_script()
    assert (job.worker_process_threads, job.spec.threads) == (8, 8), "it is not doubled again"


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
    assert job.spec.keywords["log_directory"] == "logs"
    assert "#SBATCH -p other" in Mine(**GIVEN, queue="other").job_header
    with pytest.raises(ArgumentError, match=r"memory is 16 \(class Mine\)"):
        derived(SLURMJob, memory=16)("tcp://10.0.0.1:8786", "w", cores=1)


def test_further_words_of_the_class_s_commands_are_passed_on():
    job = derived(SLURMJob, submit_command="sbatch --clusters=serial", cancel_command="scancel -M serial")(
        **GIVEN, submit_command_extra=["-v"]
    )
    assert job.spec.keywords["submit_command_extra"] == ["--clusters=serial", "-v"]
    assert job.spec.keywords["cancel_command_extra"] == ["-M", "serial"]
    assert (SLURMJob(**GIVEN).submit_command, PBSJob(**GIVEN).cancel_command) == ("sbatch", "qdel")


def test_what_is_set_in_our_class_counts_like_what_a_derived_one_sets(monkeypatch):
    monkeypatch.setattr(SLURMJob, "submit_command", "sbatch -M serial", raising=False)
    assert SLURMJob(**GIVEN).spec.keywords["submit_command_extra"] == ["-M", "serial"]


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
        for text in (job.job_script(), job.text(job.spec, JobRange(Path("/logs"), 3)), job.job_header):
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


def test_a_header_that_is_assigned_replaces_the_job_s():
    class Mine(SLURMJob):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.job_header = self.job_header.replace("#SBATCH -n 1\n", "#SBATCH --nice\n")

    job = Mine(**GIVEN)
    assert not job.spec.arrays(JobRange(Path("/logs"), 3, 10)), "each job has its own"
    job.directory = Path("/logs")
    for text in (job.job_script(), job.text(job.spec, JobRange(Path("/logs"), 0))):
        assert "#SBATCH --nice\n" in text and "-n 1" not in text
        assert text.count("#SBATCH -o /logs/") == 1, "which was not known when it was assigned"
    assert "Rank = Memory" in assigned(HTCondorJob, "job_header", "Rank = Memory", disk="1GB").job_script()


def test_a_command_that_is_assigned_replaces_the_worker_s():
    class Mine(PBSJob):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self._command_template = "mpirun -np 1 " + self._command_template

    job = Mine(**GIVEN)
    job.directory = Path("/logs")
    for text in (job.job_script(), job.text(job.spec, JobRange(Path("/logs"), 0))):
        assert re.search(r"^mpirun -np 1 \S+ -m distributed.cli.dask_worker .* --name w-0 ", text, re.MULTILINE)
    assert not job.spec.arrays(JobRange(Path("/logs"), 3, 10))
    with pytest.raises(ArgumentError, match="a job of 2 ranks"):
        Mine(**GIVEN, nodes=2)


def test_a_class_with_a_header_of_its_own_is_assigned_none():
    with pytest.raises(ArgumentError, match="job_header is assigned"):
        assigned(derived(SLURMJob, job_header=property(lambda self: "#SBATCH -n 1")), "job_header", "x")


def assigned(base, name, value, **given):
    """Return a job of a class that assigns something after `super().__init__()`."""

    class Mine(base):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            setattr(self, name, value)

    return Mine(**GIVEN, **given)


def test_more_workers_than_cores_have_the_threads_that_the_class_says():
    given = {**GIVEN, "processes": 8}
    assert " --nthreads 1 " in derived(SLURMJob, worker_process_threads=1)(**given).job_script()
    with pytest.raises(ArgumentError, match="each worker needs a core"):
        SLURMJob(**given)


def test_the_helpers_of_dask_jobqueue_s_modules():
    words = ["one", '"two"', "spacy 'quoted' argument"]
    assert quote_arguments(words) == "one \"\"two\"\" 'spacy ''quoted'' argument'"
    assert quote_arguments("a b") == "'a b'"
    variables = {"one": 1, "two": '"2"', "three": "spacey 'quoted' value", "four": ""}
    assert quote_environment(variables) == "one=1 two=\"\"2\"\" three='spacey ''quoted'' value' four="
    sizes = [1025, 10**6, 2**20, 8 * 10**9, 1.5e9, 10 * 2**30, 2**40]
    assert list(map(slurm_format_bytes_ceil, sizes)) == ["2K", "977K", "1M", "8G", "2G", "10G", "1024G"]
    assert [*map(pbs_format_bytes_ceil, sizes)] == [
        "1025B",
        "977kB",
        "1024kB",
        "7630MB",
        "1431MB",
        "10GB",
        "1024GB",
    ]
    assert list(map(lsf_format_bytes_ceil, sizes)) == ["1", "1", "2", "8000", "1500", "10738", "1099512"]
    assert [lsf_format_bytes_ceil(8e9, unit) for unit in ("kb", "MB", "g", "tb")] == ["8000000", "8000", "8", "1"]


def test_the_unit_of_lsf_is_that_of_its_file(monkeypatch, tmp_path):
    monkeypatch.setenv("LSF_ENVDIR", str(tmp_path))
    assert lsf_detect_units() == "kb"
    (tmp_path / "lsf.conf").write_text("# LSF_UNIT_FOR_LIMITS=MB\nLSF_UNIT_FOR_LIMITS=GB\n")
    assert lsf_detect_units() == "gb"


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


@pytest.mark.parametrize("name", [*hooks.ATTRIBUTES, "job_script", "submit_command", "job_header_dict"])
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
