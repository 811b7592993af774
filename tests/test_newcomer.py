"""A newcomer does the tutorial's three pages in a fresh clone by copying commands only."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil
import pytest
from machines import borrowed
from newcomer import Kernel, at_a_terminal, surroundings
from pages import Block, blocks

pytestmark = pytest.mark.one_mpi
slow = pytest.mark.slow("installs mpidask into a fresh clone")

ROOT = Path(__file__).parent.parent


def page(clone, name):
    """Return the blocks of a page of the tutorial."""
    return blocks(clone / "docs" / "tutorial" / f"{name}.md")


def processes(home):
    """Return what runs for a newcomer, by the home of its environment."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            found += [process] * (process.environ().get("HOME") == str(home))
    return found


@pytest.fixture
def home(tmp_path):
    """Return the newcomer's home; whatever still runs there in the end is ended."""
    yield tmp_path
    for process in processes(tmp_path):
        with contextlib.suppress(psutil.Error):
            process.kill()


@pytest.mark.parametrize(
    ("steps", "complaint"),
    [
        ([("run", "true\nfalse\ntrue")], "exit status 1"),
        ([("run", "printf 'one\\ntwo\\n'"), ("output", "two\none")], "shows\ntwo"),
        ([("run", "printf 'wait\\r\\033[Kone\\n'"), ("output", "wait")], "shows\nwait"),
        ([("file", "true"), ("run", "cat file"), ("output", "true")], None),
        ([("run", "printf 'wait\\r\\033[Kone\\n'"), ("output", "one")], None),
    ],
)
def test_a_page_that_promises_what_is_not_so_fails(home, steps, complaint):
    made_up = [Block("page", what, "file" if what == "file" else "", "sh", text) for what, text in steps]
    with at_a_terminal(home, surroundings(home)) as terminal:
        if complaint is None:
            assert terminal.follow(made_up) == 1
        else:
            with pytest.raises(AssertionError, match=complaint):
                terminal.follow(made_up)


@slow
@pytest.mark.thorough
def test_on_a_laptop_and_in_a_notebook(home):
    environment = {**surroundings(home), "DASK_MPIDASK__BATCH__SYSTEM": "local"}  # a laptop has no batch system
    with at_a_terminal(home, environment) as terminal:
        terminal.type(f"git clone --quiet {ROOT} clone\ncd clone")
        assert terminal.follow(page(home / "clone", "laptop")) >= 9
        with contextlib.closing(_Notebook(home, environment)) as notebook:
            assert terminal.follow(page(home / "clone", "notebook"), notebook) >= 5
    assert psutil.wait_procs(processes(home), timeout=90)[1] == [], "nothing is left over"


class _Notebook:
    """Starts the kernel with the first cell: commands before it install it."""

    def __init__(self, home, environment):
        self.home, self.environment = home, environment
        self.kernel = None

    def run(self, code):
        self.kernel = self.kernel or Kernel("mpidask", self.home, self.environment)
        return self.kernel.run(code)

    def close(self):
        if self.kernel:
            self.kernel.end()


@slow
@pytest.mark.thorough
@pytest.mark.parametrize("system", ["slurm"])
def test_with_slurm(home, system):
    """The user of `./do slurm` is that of the tests' Slurm, which is lent, so that nobody else uses it."""
    with borrowed(system) as machine, at_a_terminal(home, surroundings(home)) as terminal:
        terminal.type(f"git clone --quiet {ROOT} clone\ncd clone")
        laptop = {block.words: block for block in page(home / "clone", "laptop") if block.what == "file"}
        (bring_up, *steps) = [block for block in page(home / "clone", "slurm") if block.what in ("run", "output")]
        terminal.enter(bring_up.text.strip(), rf"{machine.user}@\S+:\S*\$ ", timeout=300)
        terminal.save("pi.py", laptop["pi.py"].text)
        assert terminal.follow(steps) >= 6
        terminal.type("rm -r pi.py .config/dask .local/state/mpidask\nexit")
        assert machine.left_over() == []
        networks = machine.run_on("mn2", "ls", "/sys/class/net").stdout.split()
        assert networks == ["eth0", "lo"], "UCX looks there: it must not depend on how this machine's own are called"
