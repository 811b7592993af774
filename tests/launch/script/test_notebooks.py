"""Notebooks as programs: with real kernels, nbclient, papermill, nbconvert."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from pathlib import Path

import pytest
from harness import marked
from notebooks import FINDS, outputs, written

from mpidask import run_directory
from mpidask.cli import command_line, submit
from mpidask.cli import ranks as ranks_commands
from mpidask.errors import UsageError
from mpidask.launch.script import main_module, notebook

pytestmark = pytest.mark.one_mpi

SLEEPS = """
import os, time
open("lock", "w").close()
try:
    print("pid", os.getpid(), flush=True)
    for _ in range(6000):
        time.sleep(0.1)
finally:
    os.remove("lock")
"""


def made(directory, *cells, **metadata):
    """Write a notebook; return its path."""
    return written(directory / "study.ipynb", *cells, **metadata)


def left(ranks):
    """Return what is left besides notebooks."""
    return [each for each in ranks.leftovers() if not each.endswith(".ipynb")]


def test_a_notebook_runs_and_is_written_with_its_outputs(ranks):
    path = made(
        ranks.work, "scale = 2", FINDS, kernelspec={"name": "nowhere", "language": "python", "display_name": ""}
    )
    before = Path(path).read_text()
    result = ranks(4, path)
    assert (result.status, result.stdout) == (0, "scale 6\n"), result
    assert "there is no kernel 'nowhere' here" in result.stderr, result
    assert outputs(ranks.work / "study.executed.ipynb") == ["", "scale 6\n|'tls'"]
    assert Path(path).read_text() == before
    assert left(ranks) == [], result


def test_a_failing_cell_ends_it_and_the_outputs_so_far_are_written(ranks):
    path = made(ranks.work, "print('before')", "1 / 0", "print('after')")
    content = json.loads(Path(path).read_text())
    old = {"output_type": "error", "ename": "OldError", "evalue": "", "traceback": ["OldError: of an earlier run"]}
    content["cells"][2]["outputs"] = [old, {"output_type": "stream", "name": "stdout", "text": "old\n"}]
    Path(path).write_text(json.dumps(content))
    result = ranks(2, path, "--output", "shown.ipynb")
    assert (result.status, result.stdout) == (1, "before\n"), result
    assert result.stderr.count("ZeroDivisionError: division by zero") == 1, result
    assert "----> 1 1 / 0" in result.stderr, result
    assert "OldError" not in result.stderr, result
    assert "the outputs so far are in shown.ipynb" in result.stderr, result
    assert outputs(ranks.work / "shown.ipynb") == ["before\n", "", ""]
    assert not (ranks.work / "study.executed.ipynb").exists()


@pytest.mark.thorough
def test_a_cell_may_choose_the_exit_status(ranks):
    result = ranks(2, made(ranks.work, "import sys; sys.exit(3)"))
    assert result.status == 3, result
    assert "Traceback" not in result.stderr, result


def test_parameters_are_papermill_s(ranks):
    pytest.importorskip("papermill")
    result = ranks(4, made(ranks.work, FINDS), "-p", "scale", "10")
    assert (result.status, result.stdout) == (0, "scale 30\n"), result
    assert (ranks.work / "study.scale=10.executed.ipynb").exists(), "runs with other values write elsewhere"


@pytest.mark.thorough
def test_nbconvert_s_kernel_finds_the_cluster(ranks):
    pytest.importorskip("nbconvert")
    path = made(ranks.work, "scale = 2", FINDS)
    result = ranks(4, "-m", "jupyter", "nbconvert", "--to", "notebook", "--execute", path)
    assert result.status == 0, result
    assert outputs(ranks.work / "study.nbconvert.ipynb") == ["", "scale 6\n|'tls'"]


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.thorough)])
def test_a_signal_ends_the_kernel_with_the_run(ranks, number):
    path = made(ranks.work, SLEEPS)
    run = ranks.start(2, path)
    run.wait_for("pid")
    run.wait_for("\n")
    assert int(run._read("out").split()[1]) in marked(run.mark)
    run.signal(number)
    result = run.result(30)
    assert result.status == 128 + number, result
    assert "Traceback" not in result.stderr, result
    assert outputs(ranks.work / "study.executed.ipynb")[0].startswith("pid "), result
    assert not (ranks.work / "lock").exists(), "finally has run"
    assert result.leftover == [], result  # the kernel has the run's mark; its number may be another's by now
    assert left(ranks) == [], result


def test_the_walltime_ends_the_cell_and_the_outputs_are_written(ranks):
    path = made(ranks.work, SLEEPS)
    warning = ranks.directory / "warning"  # as if the batch system warned
    run = ranks.start(2, "--walltime-margin", "60 s", path, environ={run_directory.WARNING: str(warning)})
    run.wait_for("pid")
    warning.touch()
    result = run.result(40)
    assert result.status == 75, result
    assert result.stderr.count("the script is ended") == 1, result
    assert outputs(ranks.work / "study.executed.ipynb")[0].startswith("pid "), result
    assert not (ranks.work / "lock").exists(), "finally has run"
    assert left(ranks) == [], result


def run_here(path):
    """Run a notebook in this process; return its exit status."""
    import nbformat

    from mpidask.launch.script.notebook_client import NotebookRun

    return NotebookRun(nbformat.read(path, as_version=4), os.path.dirname(path)).to_the_end("study.ipynb")


def test_a_cell_that_has_failed_is_not_interrupted(tmp_path, monkeypatch, capsys):
    """It would be waited for in vain."""
    from jupyter_client.manager import AsyncKernelManager

    interrupted = []

    async def note(self):
        interrupted.append(self)

    monkeypatch.setattr(AsyncKernelManager, "interrupt_kernel", note)
    assert run_here(made(tmp_path, "1 / 0")) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert interrupted == []


def test_the_temporary_directory_may_have_a_long_path(tmp_path, monkeypatch, capsys):
    """That of a socket has at most 107 characters."""
    place = tmp_path / ("x" * 80)
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    assert run_here(made(tmp_path, "print('ran')")) == 0
    assert capsys.readouterr().out == "ran\n"


def read_all(directory):
    return {path.name: path.read_text() for path in directory.iterdir()}


@pytest.fixture
def writers(tmp_path):
    """Return two runs of one notebook, as far as they write."""
    path = str(tmp_path / "study.executed.ipynb")
    return notebook.ExecutedNotebook(path), notebook.ExecutedNotebook(path)


def test_two_runs_with_one_output_keep_both(tmp_path, writers, capsys):
    one, other = writers
    one.write("one")
    other.write("other")
    for run in (one, other, one, other):
        run.write("to the end" if run is one else "also")
    assert read_all(tmp_path) == {"study.executed.ipynb": "also", "study.executed-2.ipynb": "to the end"}
    assert capsys.readouterr().err == (
        f"mpidask: something else has written {other.path}: the outputs of this run go to {one.path}\n"
    )


def test_two_runs_may_write_at_the_same_time(tmp_path, writers, monkeypatch):
    one, other = writers
    replace = os.replace

    def replace_later(*paths):
        monkeypatch.setattr(os, "replace", replace)
        other.write("other")
        replace(*paths)

    monkeypatch.setattr(os, "replace", replace_later)
    one.write("one")
    other.write("other")
    assert read_all(tmp_path) == {"study.executed.ipynb": "one", "study.executed-2.ipynb": "other"}


def test_an_executed_notebook_that_cannot_be_written_leaves_nothing(tmp_path, writers, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        writers[0].write("one")
    assert read_all(tmp_path) == {}


def test_the_executed_notebook_is_named_with_the_parameters():
    named = {
        (): "runs/study.executed.ipynb",
        (("year", "2026"), ("region", "north")): "runs/study.year=2026.region=north.executed.ipynb",
        (("file", "/data/in put.nc"),): "runs/study.file=_data_in_put.nc.executed.ipynb",
    }
    assert {each: notebook.default_output("runs/study.ipynb", each) for each in named} == named
    long = [notebook.default_output("study.ipynb", [("file", f"{'d/' * 150}{end}.nc")]) for end in "ab"]
    long += [notebook.default_output("study.ipynb", [("city", city)]) for city in ("Zürich", "Zorich")]
    assert len(set(long)) == len(long)
    assert max(map(len, long)) < 255, "a file's name has no more"


@pytest.mark.thorough
def test_pytest_is_a_program(ranks):
    (ranks.work / "test_it.py").write_text(
        "from distributed import Client\ndef test_sum():\n    with Client() as client:\n"
        "        assert client.scheduler.address.startswith('tls:')\n        assert client.submit(sum, [1, 2]).result() == 3\n"
    )
    result = ranks(3, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py")
    assert result.status == 0, result
    assert "1 passed" in result.stdout, result


@pytest.mark.parametrize(
    ("words", "what", "remedy"),
    [
        (["-p", "year"], "expected 2 arguments", "-p NAME VALUE"),
        (["--ouput", "x"], "unrecognized arguments: --ouput x", "--output FILE"),
        (["--output", "nowhere/x.ipynb"], "nowhere/x.ipynb cannot be written", "another place"),
    ],
)
def test_what_is_wrong_is_said_before_the_cluster_starts(tmp_path, words, what, remedy):
    with pytest.raises(UsageError) as raised:
        main_module.load(main_module.Program("file", made(tmp_path, "1"), tuple(words)))
    assert what in raised.value.what
    assert remedy in raised.value.remedy


def test_what_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(notebook.importlib.util, "find_spec", lambda name: None if name == "papermill" else "there")
    with pytest.raises(UsageError, match="-p needs papermill") as raised:
        notebook.read(made(tmp_path, "1"), ["-p", "year", "2026"])
    assert raised.value.remedy == f"{sys.executable} -m pip install papermill"


def test_values_are_read_as_papermill_does():
    read = {text: notebook.value(text) for text in ("1", "2.5", "1e3", "True", "None", "a.nc", "[1]", "'x'")}
    assert read == {
        "1": 1,
        "2.5": 2.5,
        "1e3": 1000.0,
        "True": True,
        "None": None,
        "a.nc": "a.nc",
        "[1]": "[1]",
        "'x'": "'x'",
    }


def test_options_after_a_notebook_are_its_own():
    """-p is Slurm's partition, and an option of mpidask's; after a script it is refused."""
    command = ranks_commands.run_command()
    words = ["study.ipynb", "-p", "year", "2026", "--output", "out.ipynb"]
    assert command_line.split(["--quiet", *words], command) == (["--quiet"], words)
    with pytest.raises(UsageError, match="--quiet is an option of mpidask"):
        command_line.split([*words, "--quiet"], command)
    command = submit.COMMANDS["submit"][0]()
    assert command_line.split(["-p", "debug", *words], command) == (["-p", "debug"], words)
    with pytest.raises(UsageError, match="-p is an option of mpidask"):
        command_line.split(["script.py", "-p", "debug"], command)
