"""What a reader types: the code blocks of tutorial, how-to and migration pages.

The comment before a block says what is done with it::

    <!-- file: NAME -->       a file that later blocks use
    <!-- run -->              commands of a shell, or cells of a notebook: one session for each page
    <!-- run: COMMAND -->     a script, script.py, that this command runs
    <!-- output -->           lines that the block before prints, in this order
    <!-- not run: WHY -->
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from machines import borrowed

from mpidask.batch.settings import JobOptions
from mpidask.config import Options

pytestmark = pytest.mark.one_mpi

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [path for kind in ("tutorial", "howto", "migration") for path in sorted((DOCS / kind).glob("*.md"))]

_BLOCK = re.compile(r"(?:^ *<!-- (.*?) -->\n)?^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)

#: Options of commands that are not fields of a dataclass.
_FURTHER = {
    "--follow",
    "--wait",
    "--dry-run",
    "--help",
    "--orphans",
    "--all",
    "--json",
    "--rank",
    "--port",
    "--older-than",
}


@dataclasses.dataclass(frozen=True)
class Block:
    """A code block of a page, and what the comment before it says."""

    page: str
    what: str
    words: str
    language: str
    text: str


def blocks(path):
    """Return the code blocks of a page."""
    return [
        Block(
            path.stem,
            *(comment or "").partition(": ")[::2],
            language,
            re.sub(f"^{indent}", "", text, flags=re.MULTILINE),
        )
        for comment, indent, language, text in _BLOCK.findall(path.read_text())
    ]


def test_every_block_is_run_or_says_why_not():
    wrong = []
    for path in PAGES:
        for block in blocks(path):
            known = block.what in ("run", "output") or (block.what in ("file", "not run") and block.words)
            wrong += [] if known else [f"{path.relative_to(DOCS)}: {block.what!r} {block.text[:40]}"]
    assert wrong == []


def test_every_option_in_a_command_line_is_there():
    flags = {
        f"--{field.name.replace('_', '-')}" for kind in (Options, JobOptions) for field in dataclasses.fields(kind)
    }
    flags |= {f"--no-{each[2:]}" for each in flags} | {"--exclusive-workers", "--mem", *_FURTHER}
    wrong = []
    for path in [ROOT / "README.md", *PAGES]:
        for block in blocks(path):
            for line in block.text.splitlines():
                ours = re.search(r"\bmpidask\b(?!-)(.*)", line) if block.language in ("", "sh") else None
                given = re.findall(r"(?<![\w-])--[a-z][a-z-]+", re.sub(r"'[^']*'", "", ours[1])) if ours else []
                wrong += [f"{path.stem}: {each}" for each in given if each not in flags]
    assert wrong == []


def test_line_counts_of_before_and_after():
    for path in (DOCS / "migration").glob("*.md"):
        _, *parts = re.split(r"^## .*: (\d+) lines.*$", path.read_text(), flags=re.MULTILINE)
        for number, text in zip(parts[::2], parts[1::2], strict=True):
            section = re.split(r"^## ", text, flags=re.MULTILINE)[0]
            lines = [line for block in _BLOCK.findall(section) for line in block[3].splitlines() if line.strip()]
            assert len(lines) == int(number), (path.stem, number)


SCRIPTS = {(block.words, block.text) for path in PAGES for block in blocks(path) if block.what == "run" and block.words}


@pytest.mark.thorough
@pytest.mark.parametrize(("command", "code"), sorted(SCRIPTS))
def test_scripts_run(ranks, command, code):
    assert command.startswith("mpirun -n 4 python "), command
    words = command.split(" ")[4:-1]
    script = ranks.script(code)
    result = ranks(4, script) if words else ranks.python(4, script)
    assert (result.status, result.words) == (0, []), result
    assert result.stdout.strip() in ("3", "285"), result
    assert not ranks.leftovers(), result


def session(page, machine):
    """Write the files of a page, and the one that its blocks are in; return the blocks that run, each with its output."""
    steps = []
    for block in blocks(DOCS / "tutorial" / "laptop.md") + blocks(DOCS / "tutorial" / f"{page}.md"):
        if block.what == "file":
            machine.file(block.words, block.text)
    for block in blocks(DOCS / "tutorial" / f"{page}.md"):
        if block.what == "run":
            steps.append((block, []))
        elif block.what == "output":
            steps[-1][1].extend(block.text.splitlines())
    return steps


def follow(machine, steps, done):
    """Check that each block has printed what the page shows."""
    assert done.returncode == 0, done
    printed = re.split(r"^@@@ \d+\n", done.stdout, flags=re.MULTILINE)[1:]
    assert len(printed) == len(steps), done
    for (block, wanted), text in zip(steps, printed, strict=True):
        said = [line for line in text.splitlines() if line in wanted]
        assert said == wanted, (block.text, text, done.stderr)
    assert machine.left_over() == []


@pytest.mark.thorough
@pytest.mark.parametrize(("page", "system"), [("laptop", "local"), ("slurm", "slurm")])
def test_shells_of_the_tutorial(page, system):
    with borrowed(system) as machine:
        steps = session(page, machine)
        text = "".join(f"echo '@@@ {number}'\n{block.text}" for number, (block, _) in enumerate(steps))
        done = machine.run("bash", "-e", machine.file("session.sh", text), timeout=240)
        follow(machine, steps, done)


@pytest.mark.thorough
def test_the_notebook_of_the_tutorial():
    with borrowed("local") as machine:
        steps = session("notebook", machine)
        text = "".join(f"print('@@@ {number}', flush=True)\n{block.text}" for number, (block, _) in enumerate(steps))
        done = machine.run(machine.python, machine.file("cells.py", text), timeout=120)
        follow(machine, steps, done)
