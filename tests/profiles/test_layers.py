"""The layers of the configuration: which value counts, where it stands, and what is wrong with a file."""

from __future__ import annotations

import copy
import os
import re
import stat
import sys
from pathlib import Path

import dask.config
import pytest
import yaml

from mpidask import cli, configuration
from mpidask.attach import spec
from mpidask.batch import registry, settings
from mpidask.cli import commands, submit
from mpidask.errors import UsageError
from mpidask.jobqueue import SLURMJob
from mpidask.options import loading
from mpidask.profiles import packaged
from mpidask.profiles.layers import chain, layer, merge, nested

pytestmark = pytest.mark.one_mpi


def layers(*texts):
    return [layer(f"file {number}", yaml.safe_load(text)) for number, text in enumerate(texts)]


def counts(every, *names):
    return nested(merge(every, names), ("mpidask",))


# Which value counts (pure).


def test_a_later_layer_counts_before_an_earlier_one_with_or_without_a_profile():
    every = layers(
        "mpidask: {nthreads: 1, name: a, profiles: {p: {nthreads: 2, interface: ib0}}}", "mpidask: {nthreads: 3}"
    )
    assert counts(every) == {"nthreads": 3, "name": "a"}
    assert counts(every, "p") == {"nthreads": 3, "name": "a", "interface": "ib0"}


def test_within_a_layer_a_profile_counts_before_what_stands_outside():
    every = layers("mpidask: {nthreads: 1, profiles: {p: {nthreads: 2}}}")
    assert counts(every, "p") == {"nthreads": 2}


def test_a_profile_counts_before_the_one_that_it_is_like_and_files_add_to_it():
    every = layers(
        "mpidask: {profiles: {base: {nthreads: 1, batch: {queue: a, nodes: 2}}}}",
        "mpidask: {profiles: {ours: {like: base, batch: {queue: b}}, base: {name: x}}}",
    )
    assert chain(every, "ours") == ["base", "ours"]
    found = counts(every, *chain(every, "ours"))
    assert found == {"nthreads": 1, "name": "x", "batch": {"queue": "b", "nodes": 2}}


def test_lists_of_profiles_are_added_to_and_others_replaced():
    every = layers(
        "mpidask: {profiles: {p: {batch: {directive: [--a, --b], prologue: [x]}}}}",
        "mpidask: {batch: {directive: [--c, --b]}}",
    )
    assert counts(every, "p")["batch"] == {"directive": ["--a", "--c", "--b"], "prologue": ["x"]}
    assert counts(layers("mpidask: {batch: {directive: [--a]}}", "mpidask: {batch: {directive: [--b]}}"))["batch"] == {
        "directive": ["--b"]
    }


def test_spellings_are_the_same_key_and_a_section_replaces_a_value():
    every = layers(
        "mpidask: {memory-limit: 1, batch: {systems: null}}",
        "mpidask: {memory_limit: 2, batch: {systems: {a: {like: slurm}}}}",
    )
    assert counts(every) == {"memory_limit": 2, "batch": {"systems": {"a": {"like": "slurm"}}}}
    assert counts(layers("mpidask: {batch: {nodes: 2}}", "mpidask: {batch: {}}")) == {"batch": {"nodes": 2}}


WRONG = {
    "p": ("mpidask: {profiles: {p: {like: q}, q: {like: p}}}", "the profiles p and q are like each other"),
    "r": ("mpidask: {profiles: {r: {like: gone}}}", "there is no profile 'gone', which r is like"),
    "leonrdo": ("mpidask: {profiles: {leonardo: {}}}", "there is no profile 'leonrdo'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_profiles_that_cannot_be(name):
    text, what = WRONG[name]
    with pytest.raises(UsageError) as caught:
        chain(layers(text), name)
    assert caught.value.what == what
    assert "There are: " in caught.value.remedy or "like:" in caught.value.remedy


# Files.


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Return a function that writes the user's file, and the project's, and has the former read as Dask does it."""
    (tmp_path / "user").mkdir()
    (tmp_path / "project" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project" / "deep")
    monkeypatch.setattr(dask.config, "paths", [str(tmp_path / "user")])
    before = copy.deepcopy(dask.config.config)

    def write(user="", project="", **environ):
        (tmp_path / "user" / "mpidask.yaml").write_text(user)
        (tmp_path / "project" / "mpidask.yaml").write_text(project)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        dask.config.refresh(paths=[str(tmp_path / "user")])
        return tmp_path / "user" / "mpidask.yaml", tmp_path / "project" / "mpidask.yaml"

    yield write
    dask.config.config.clear()
    dask.config.config.update(before)


@pytest.fixture
def typed(monkeypatch, capsys):
    """Return a function that runs a command in this process: exit status, and what it prints."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["mpidask", *words])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code or 0, capsys.readouterr()

    return run


USER = """mpidask:
  nthreads: 1
  memory-limit: 1 GiB
  interface: eth0
  batch: {account: mine}
  profiles:
    big:
      like: lumi
      nthreads: 2
      batch: {nodes: 16}
"""


def test_each_layer_counts_before_the_one_below_it_and_says_where_it_is(written, typed):
    user, project = written(
        USER, "mpidask:\n  interface: ib1\n  memory-limit: 2 GiB\n", DASK_MPIDASK__MEMORY_LIMIT="3 GiB"
    )
    options = loading.load({"profile": "big"})
    assert (options.nthreads, options.interface, options.memory_limit) == (2, "ib1", "3 GiB")
    job = settings.load({"nodes": 3}, profile="big")
    assert (job.nodes, job.queue, job.account, job.cores_per_rank) == (3, "standard", "mine", 128)
    status, printed = typed("config", "show", "--origin", "--profile", "big")
    places = dict(line.split("  # ") for line in printed.out.splitlines())
    assert status == 0
    assert places["mpidask.nthreads: 2"] == f"profile big, {user}, line 9"
    assert places["mpidask.interface: ib1"] == f"{project}, line 2"
    assert places["mpidask.memory-limit: 3 GiB"] == "DASK_MPIDASK__MEMORY_LIMIT"
    assert places["mpidask.batch.account: mine"] == f"{user}, line 5"
    assert "profile lumi, " in places["mpidask.batch.queue: standard"]
    assert "lumi.yaml, line " in places["mpidask.batch.queue: standard"]
    _, every = typed("config", "show", "--origin", "--all")
    assert "mpidask.batch.queue: null  # default" in every.out


def test_lines_that_are_given_come_after_those_of_the_profile(written):
    written("mpidask: {batch: {prologue: [module load a]}}")
    job = settings.load({"directive": ("--x",), "prologue": ("module load b",)}, profile="archer2")
    assert job.directive == ("--qos=standard", "--x")
    assert job.prologue == ("module load b",)


def test_the_configuration_may_name_the_profile(written):
    written(USER, "mpidask: {profile: big}")
    assert loading.load({}).nthreads == 2
    assert settings.load({}).nodes == 16
    with pytest.warns(UserWarning, match="nobody has run the profile lumi"):
        header = SLURMJob("tls://h:1", "w").job_header
    assert "#SBATCH -p standard" in header
    assert "#SBATCH --cpus-per-task=128" in header


def test_the_program_counts_before_files_and_profiles(written):
    written("mpidask: {profiles: {p: {nthreads: 2, interface: ib0}}}", "mpidask: {nthreads: 3}")
    with dask.config.set({"mpidask.nthreads": 4}):
        options = loading.load({"profile": "p"})
    assert (options.nthreads, options.interface) == (4, "ib0")
    assert loading.load({"profile": "p", "interface": "lo"}).interface == "lo"


def test_a_wrong_value_in_a_profile_is_told_with_its_line(written):
    user, _ = written("mpidask:\n  profiles:\n    p:\n      batch:\n        nodes: two\n")
    with pytest.raises(UsageError) as caught:
        settings.load({}, profile="p")
    assert caught.value.what == f"mpidask.batch.nodes (profile p, {user}, line 5) is 'two'"


def test_a_project_s_file_of_somebody_else_is_not_read(written, monkeypatch):
    _, project = written("", "mpidask: {nthreads: 3}")
    assert loading.load({}).nthreads == 3
    real = os.stat

    def of_somebody(path, *args, **kwargs):
        found = real(path, *args, **kwargs)
        if str(path) != str(project):
            return found
        values = list(found)
        values[stat.ST_UID] = 12345
        return os.stat_result(values)

    monkeypatch.setattr(os, "stat", of_somebody)
    assert loading.load({}).nthreads is None


def test_a_directory_that_is_gone_has_no_project(written, tmp_path, monkeypatch):
    written(USER)
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert configuration.project_file() is None
    assert loading.load({"profile": "big"}).nthreads == 2


def test_a_switch_of_the_project_reaches_what_reads_dask_s_configuration(written):
    written("", "mpidask: {optimize: false}")
    loading.load({})
    assert dask.config.get("mpidask.optimize") is False


MISTAKES = {
    "mpidask:\n  nthreds: 4\n": "line 2: unknown key mpidask.nthreds; did you mean nthreads?",
    "mpidask:\n  batch:\n    acount: x\n": "line 3: unknown key mpidask.batch.acount; did you mean account?",
    "mpidask:\n  profiles:\n    p:\n      batch: {queu: x}\n": "line 4: unknown key mpidask.profiles.p.batch.queu; did you mean queue?",
    "mpidask:\n  profiles:\n    p:\n      jobqueue: {interfce: x}\n": "line 4: unknown key mpidask.profiles.p.jobqueue.interfce; did you mean interface?",
    "mpidask:\n  batch:\n    systems:\n      s: {like: pbs, workers: {opions: []}}\n": "line 4: unknown key mpidask.batch.systems.s.workers.opions; did you mean options?",
    "jobqueue:\n  slurm:\n    coers: 4\n": "line 3: unknown key jobqueue.slurm.coers; did you mean cores?",
    "mpdask: {}\n": "line 1: unknown key mpdask; did you mean mpidask?",
    "mpidask:\n  batch: 3\n": "line 2: mpidask.batch is no section; a mapping is needed",
    "mpidask:\n  batch:\n    nodes: two\n": "line 3) is 'two'",
    "mpidask: {profile: nowhere}\n": "there is no profile 'nowhere'",
    "mpidask:\n  profiles:\n    p:\n      batch: {nodes: two}\n": "mpidask.batch.nodes (profile p, ",
    "mpidask:\n  profiles:\n    p: {like: nowhere}\n": "there is no profile 'nowhere'",
    "mpidask:\n  nthreads: [1\n": "/mpidask.yaml, line 3, column 1 is no YAML",
}  # fmt: skip


@pytest.mark.parametrize("text", MISTAKES)
def test_config_check_names_file_line_and_key(written, typed, text):
    _, project = written("", text)
    status, printed = typed("config", "check")
    assert status == 2
    assert str(project) in printed.out
    assert MISTAKES[text] in printed.out
    assert printed.out.count(str(project)) <= 1, "a file is named once"


def test_config_check_is_content_with_what_mpidask_prints(written, typed):
    _, shown = typed("profile", "show", "gadi")
    written(USER, shown.out.replace("    gadi:\n", "    other:\n"))
    status, printed = typed("config", "check", "--profile", "other")
    assert (status, printed.out) == (0, "2 files, no mistakes\n"), printed


# Profiles, listed and made.


def test_profiles_are_listed_and_shown(written, typed):
    written(USER)
    _, printed = typed("profile", "list")
    rows = {line.split()[0]: line for line in printed.out.splitlines()}
    assert rows["big"].endswith("yours")
    assert rows["leonardo"].endswith("run by nobody yet")
    _, printed = typed("profile", "show", "big")
    body = yaml.safe_load(printed.out)["mpidask"]["profiles"]["big"]
    assert body == {"like": "lumi", "nthreads": 2, "batch": {"nodes": 16}}
    status, printed = typed("profile", "show", "lumii")
    assert (status, "did you mean lumi?" in printed.err) == (2, True)


def test_a_new_profile_has_what_is_found_here(written, typed, tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    for name, text in {"sinfo": "printf 'short\\nlong*\\n'", "sacctmgr": "echo abc123"}.items():
        file = tmp_path / "bin" / name
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    written("mpidask: {batch: {system: slurm}}")
    status, printed = typed("profile", "new", "ours")
    assert status == 0
    assert "# there are: short, long" in printed.out
    body = yaml.safe_load(printed.out)["mpidask"]["profiles"]["ours"]
    assert body["batch"] == {"system": "slurm", "queue": "long", "account": "abc123"}
    written("", printed.out)
    assert typed("config", "check", "--profile", "ours")[0] == 0
    assert settings.load({}, profile="ours").queue == "long"


# Where a profile goes.


def test_a_submitted_job_runs_with_the_profile(written, monkeypatch, capsys):
    written(USER)
    Path("script.py").touch()
    assert submit.COMMANDS["script"][1](["--profile", "big", "script.py"]) == 0
    assert " -m mpidask --profile big --workers-per-rank auto script.py" in capsys.readouterr().out
    options, run = spec.divided({"profile": "big", "nodes": 2})
    assert (options.nodes, options.queue) == (2, "standard")
    assert "--profile big" in " ".join(spec.describe(options, run).command)


def test_jobs_of_a_profile_s_system_are_found_without_the_profile(written):
    written()
    assert registry.find("gadi").title == "PBS on Gadi"
    assert "gadi" not in registry.names()
    assert registry.find("gadi").workers.index is None


def test_every_command_that_makes_a_job_takes_a_profile():
    for name in ("run", "serve", "submit", "script", "start"):
        module = __import__(f"mpidask.cli.{commands.modules()[name]}", fromlist=["COMMANDS"])
        assert "profile" in {each.name for each in module.COMMANDS[name][0]().params}, name


def test_labels_name_profile_and_line(written):
    written()
    assert configuration.read("gadi").label("batch", "queue").startswith("mpidask.batch.queue (profile gadi, ")


# What the page says.

PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "profiles.md").read_text(encoding="utf-8")


def test_the_page_names_all_machines():
    table = PAGE.partition("## The machines")[2]
    named = [
        name for cell in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`([\w-]+)`", cell)
    ]
    assert sorted(named) == sorted(packaged.LAYER.profiles)


def test_the_page_s_configuration_and_commands_are_right(written, typed):
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    written(text)
    lines = re.findall(r"^mpidask ((?:config|profile) .*?)(?: >.*)?$", PAGE, re.MULTILINE)
    assert len(lines) >= 4
    for line in lines:
        status, printed = typed(*line.split())
        assert status == 0, (line, printed)
    job = settings.load({}, profile="mine-small")
    assert (job.queue, job.cores_per_rank, job.account, job.walltime) == ("small", 8, "project_1", "1:00:00")
