"""What `--help` prints, and what a shell completes."""

from __future__ import annotations

import dataclasses
import importlib
import os
import re
import shlex
import subprocess
import sys

import pytest

from mpidask import cli
from mpidask.batch import registry
from mpidask.batch.job import BatchJob
from mpidask.batch.job_state import JobId
from mpidask.batch.records import store
from mpidask.batch.settings import JobOptions
from mpidask.cli import about, command_line, commands, help_page
from mpidask.config import Options

NAMES = [name for name in commands.modules() if name != "resubmit"]


def describe(name):
    return importlib.import_module(f"mpidask.cli.{commands.modules()[name]}").COMMANDS[name][0]()


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("flag", ["--help", "--help-all"])
def test_no_line_is_wider_than_the_terminal(monkeypatch, columns, flag):
    monkeypatch.setenv("COLUMNS", str(columns))
    for name in NAMES:
        text = command_line.read(describe(name), [flag])
        assert text.startswith(f"Usage: mpidask {name} [OPTIONS]"), text
        assert [line for line in text.splitlines() if len(line) >= columns] == []
        assert "\x1b" not in text
        assert not re.search(r"-\n", text), "an option is not parted"
        assert not re.search(r"Default:\n|\d\n +(s|GiB|ranks)\b", text), "nor a default, nor a number and its unit"
        assert [line for line in text.splitlines() if line.count("`") % 2] == [], "nor what is to be typed"
        panels = re.split(r"\n(?=\w.*:\n)", text)[2:]
        lone = [line for panel in panels for line in panel.splitlines() if re.fullmatch(r" {10,}[a-z]\w*\.", line)]
        assert lone == [], "the last word of a text does not stand alone"
    assert max(len(line) for line in commands.overview(coloured=False).splitlines()) < 80


def test_every_command_has_two_examples_that_can_be_typed():
    for name in NAMES:
        lines = (
            command_line.read(describe(name), ["--help"])
            .partition("\nExamples:\n")[2]
            .partition("\n\n")[0]
            .splitlines()
        )
        assert len(lines) >= 2
        for line in lines:
            words = shlex.split(line.partition(" > ")[0])
            if name == "completion":
                continue
            if words[0] == "mpirun":
                words = ["mpidask", name, *words[words.index("mpidask") + (2 if name in ("serve", "doctor") else 1) :]]
            assert words[:2] == ["mpidask", name]
            if name == "connect":
                ours, _ = command_line.split_at_script(words[2:], describe(name))
            elif "SCRIPT" in command_line.read(describe(name), ["--help"]).splitlines()[0]:
                ours, program = command_line.split(words[2:], describe(name))
                assert program
            else:
                ours = words[2:]
            command_line.read(describe(name), ours)


def test_every_option_is_in_one_panel():
    shown = [name for panel in help_page.PANELS.values() for names in panel for name in names.split()]
    fields = {field.name for kind in (JobOptions, Options) for field in dataclasses.fields(kind)}
    assert len(shown) == len(set(shown))
    assert set(shown) == fields | {"follow", "wait", "dry_run"}


def test_the_help_of_submit():
    text = command_line.read(describe("submit"), ["--help"])
    for words in ("[OPTIONS] SCRIPT [ARGS]", "Resources:", "Watching:", "Security:", "-N, --nodes N", "Default: 1."):
        assert words in text
    assert "--client-address" not in text
    assert "--client-address" in command_line.read(describe("submit"), ["--help-all"])
    assert "--idle-timeout" in command_line.read(describe("start"), ["--help"])


@pytest.mark.parametrize("words", [[], ["help"], ["--help"], ["-h"], ["--help-all"]])
def test_the_list_of_commands(capsys, words):
    cli.main(words)
    assert capsys.readouterr().out == commands.overview(coloured=False)


def test_names_of_options_are_readable_whatever_colours_a_terminal_has(monkeypatch):
    monkeypatch.setattr(help_page, "_is_coloured", lambda: True)
    text = command_line.read(describe("status"), ["--help"])
    assert text.startswith("\x1b[1mUsage:\x1b[0m mpidask status")
    assert "\x1b[1m--json\x1b[0m" in text
    assert not re.search(r"\x1b\[[39]\dm", text), "cyan on white, blue on black: some colour is lost on each ground"


def test_the_list_of_commands_imports_nothing_that_takes_long():
    code = (
        "import sys; from mpidask.cli import main; sys.argv[1:] = ['--help']; main()\n"
        "print(sorted({'click', 'dask', 'distributed', 'mpi4py', 'rich', 'yaml', 'psutil'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.endswith("\n[]\n"), done


@pytest.fixture
def completed(tmp_path, monkeypatch, capsys):
    """Return a function that completes a command line: the words that it may go on with."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv(commands.COMPLETE, "bash_complete")

    def complete(line):
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert end.value.code == 0
        return {each.partition(",")[2] for each in capsys.readouterr().out.split()}

    return complete


def test_shells_complete_commands_options_and_jobs(completed):
    for number in ("4711", "4720", "12"):
        record, _ = store.create(BatchJob(command=("true",)), registry.find("slurm"), None)
        record.add_submission(JobId(number))
    assert completed("mpidask sta") == {"start", "status"}
    assert "resubmit" not in completed("mpidask ")
    assert completed("mpidask submit --no") == {"--nodes", "--no-gpus", "--no-tls", "--no-nanny", "--no-scheduler",
        "--no-dashboard", "--no-requeue", "--no-shared-scratch", "--no-local-cluster", "--no-quiet"}  # fmt: skip
    assert completed("mpidask logs 47") == {"4711", "4720"}
    assert completed("mpidask cancel 12 4711 ") == {"4711", "4720", "12"}
    assert completed("mpidask submit -N 2 scr") == {"scr"}, "files are the shell's business"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_of_a_shell(monkeypatch, capsys, shell):
    assert about.COMMANDS["completion"][1]([shell]) == 0
    assert f"{commands.COMPLETE}={shell}_complete" in capsys.readouterr().out
    assert commands.COMPLETE not in os.environ
