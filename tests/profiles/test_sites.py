"""The profiles of sites: each makes what the site's own published example asks for, directive by directive."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest
import yaml

from mpidask import MPICluster, batch, configuration
from mpidask.cli import submit
from mpidask.errors import ArgumentError
from mpidask.jobqueue import PBSCluster, PBSJob, SLURMJob
from mpidask.jobqueue.cluster.settings import ClusterSettings
from mpidask.profiles import packaged

pytestmark = pytest.mark.one_mpi

PUBLISHED = yaml.safe_load((Path(__file__).parent / "published.yaml").read_text())

#: Other spellings of options of sbatch: https://slurm.schedmd.com/sbatch.html
SAME = {
    "-A": "--account", "-p": "--partition", "-N": "--nodes", "-n": "--ntasks", "-c": "--cpus-per-task",
    "-t": "--time", "-q": "--qos", "-C": "--constraint", "-J": "--job-name", "-o": "--output", "-e": "--error",
    "--tasks-per-node": "--ntasks-per-node",
}  # fmt: skip

#: Where output goes, what the job is called, and when it is to be warned, is mpidask's affair.
OWN = {"--job-name", "--output", "--error", "--signal", "-N", "-o", "-e"}


def seconds(text):
    days, _, clock = text.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    return sum(part * 60**place for place, part in enumerate(reversed(parts))) + 86400 * int(days or 0)


def size(text):
    number, unit = re.fullmatch(r"(\d+)([MG])B", text.upper()).groups()
    return int(number) * {"M": 1, "G": 1024}[unit]


def of_slurm(directives):
    """Return option -> value."""
    found = {}
    for text in directives:
        name, _, value = re.sub(r"^(-\w|--[\w-]+)[ =]?", r"\1=", text).partition("=")
        name = SAME.get(name, name)
        found[name] = seconds(value) if name == "--time" else value
    if "--ntasks-per-node" in found and "--nodes" in found:
        found.setdefault("--ntasks", str(int(found["--nodes"]) * int(found["--ntasks-per-node"])))
    return found


def of_pbs(directives):
    """Return option, or resource, -> value."""
    found = {}
    for text in directives:
        name, _, value = text.partition(" ")
        if name != "-l":
            found[name] = value
            continue
        for resource in re.split(r"[:,](?=[a-z]+=)", value):
            key, _, amount = resource.partition("=")
            read = {"walltime": seconds, "mem": size}.get(key, str)
            found[f"-l {key}"] = read(amount)
    return found


def read(name, text, mark=None):
    """Return what a job script, or a list of directives, asks for."""
    system = configuration.read(name).section("batch")["system"]
    mark, parse = ("#SBATCH ", of_slurm) if system == "slurm" else ("#PBS ", of_pbs)
    lines = text if isinstance(text, list) else [line.removeprefix(mark) for line in text.splitlines() if mark in line]
    return parse(lines)


def test_each_profile_has_an_example_and_says_where_its_values_are_from():
    assert set(PUBLISHED) == set(packaged.LAYER.profiles)
    assert len({name.partition("-")[0] for name in PUBLISHED}) >= 12, "machines"
    for name, body in packaged.LAYER.profiles.items():
        about = body["about"]
        assert about["title"] and about["source"].startswith(("https://", "http://")) and about["date"], name
        assert "ran" in about, name


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_job_asks_for_what_the_site_s_example_asks_for(name, tmp_path, monkeypatch, capsys):
    case = PUBLISHED[name]
    monkeypatch.chdir(tmp_path)
    Path("script.py").touch()
    words = ["--profile", name, *map(str, case["words"]), "script.py"]
    assert submit.COMMANDS["script"][1](words) == 0
    printed = capsys.readouterr()
    made, asked = read(name, printed.out), read(name, case["asks"])
    assert {key: made.get(key) for key in asked} == asked
    assert set(made) - set(asked) - OWN - {"--ntasks"} == set(case.get("besides", ()))
    assert not set(made) & set(read(name, list(case.get("lacks", ()))))
    assert f"nobody has run the profile {name} yet" in printed.err


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_job_of_workers_asks_for_it_too(name):
    case = PUBLISHED[name]
    kind = SLURMJob if configuration.read(name).section("batch")["system"] == "slurm" else PBSJob
    account = case["words"][1]
    with pytest.warns(UserWarning, match=f"nobody has run the profile {name} yet"):
        settled = kind("tls://h:1", "w", profile=name, account=account, **sizes(kind, name)).job_script()
    made, asked = read(name, settled), read(name, case["workers"])
    assert {key: made.get(key) for key in asked} == asked
    assert ("-l select" in made) == (kind is PBSJob and name != "gadi")


def sizes(kind, name):
    """Return cores and memory where the profile leaves them to the user."""
    said = configuration.read(name).section("batch")
    jobqueue = {**packaged.LAYER.profiles[name].get("jobqueue", {}), **said}
    cores = {} if "cores-per-rank" in said else {"cores": 2}
    return {**cores, **({} if {"memory", "memory-per-node"} & set(jobqueue) else {"memory": "8GB"})}


def test_words_of_the_worker_s_command():
    with pytest.warns(UserWarning, match="gadi"):
        text = PBSJob("tls://h:1", "w", profile="gadi", account="abc").job_script()
    assert " --local-directory $TMPDIR " in text
    assert " --interface ib0" in text
    with pytest.warns(UserWarning, match="archer2"):
        text = SLURMJob("tls://h:1", "w", profile="archer2", account="t01").job_script()
    assert "--mem=" not in text
    assert " --interface hsn0" in text


def test_the_scheduler_of_a_cluster_uses_the_profile_s_network_interface():
    given = {"interface": None, "scheduler_options": None, "shared_temp_directory": None, "port_range": None}
    for profile, interface in ((None, None), ("gadi", "ib0")):
        settled = ClusterSettings.settle(
            "PBSCluster", PBSJob, None, {**given, "profile": profile}, security=False, protocol=None
        )
        assert settled.interface == interface


def test_what_is_given_counts_before_the_profile_and_lines_come_after_its_own():
    with pytest.warns(UserWarning, match="archer2"):
        job = SLURMJob("tls://h:1", "w", profile="archer2", queue="highmem", cores=64, job_extra_directives=["--x"])
    header = job.job_header.splitlines()
    assert header[-2:] == ["#SBATCH --qos=standard", "#SBATCH --x"]
    assert "#SBATCH -p highmem" in header
    assert "#SBATCH --cpus-per-task=64" in header


def test_a_profile_for_another_batch_system_is_refused():
    with pytest.raises(ArgumentError) as caught:
        PBSJob("tls://h:1", "w", profile="lumi", cores=2, memory="8GB")
    assert "lumi is for Slurm" in caught.value.what
    with pytest.raises(ArgumentError, match="there is no profile 'leonrdo'") as caught:
        SLURMJob("tls://h:1", "w", profile="leonrdo", cores=2, memory="8GB")
    assert "did you mean leonardo?" in caught.value.remedy


def test_without_a_profile_nothing_is_said():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        header = SLURMJob("tls://h:1", "w", cores=2, memory="8GB").job_header
    assert "-p " not in header


def test_a_cluster_says_it_once_and_submits_to_the_profile_s_variant_of_the_batch_system():
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        cluster = PBSCluster(
            profile="gadi", account="abc", interface="lo", security=False, scheduler_options={"dashboard": False}
        )
    with cluster:
        assert len([each for each in said if "gadi" in str(each.message)]) == 1
        assert cluster.dispatcher.system.name == "gadi"
        made = read("gadi", cluster.job_script())
        assert (made["-P"], made["-l ncpus"], "-l select" in made) == ("abc", "48", False)
        assert " --interface lo" in cluster.job_script()


def test_a_cluster_that_is_one_job_says_it_too(monkeypatch):
    def submit(*_, **__):
        raise StopIteration("it would be submitted")

    monkeypatch.setattr(batch, "submit", submit)
    with pytest.warns(UserWarning, match="nobody has run the profile lumi yet"), pytest.raises(StopIteration):
        MPICluster(profile="lumi", account="abc")
