"""What a reader types: the code blocks of tutorial, how-to and migration pages. `pages` says what their comments mean.

test_newcomer.py does the tutorial's three pages from end to end.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from pages import blocks, code_lines

from mpidask.batch.settings import JobOptions
from mpidask.config import Options

pytestmark = pytest.mark.one_mpi

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [path for kind in ("tutorial", "howto", "migration") for path in sorted((DOCS / kind).glob("*.md"))]

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
    "--origin",
    "--submit",
    "--patience",
}


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
                # up to a module that mpidask runs, whose options are its own
                ours = re.search(r"\bmpidask\b(?!-)(.*?)(?: -m |$)", line) if block.language in ("", "sh") else None
                given = re.findall(r"(?<![\w-])--[a-z][a-z-]+", re.sub(r"'[^']*'", "", ours[1])) if ours else []
                wrong += [f"{path.stem}: {each}" for each in given if each not in flags]
    assert wrong == []


def test_line_counts_of_before_and_after():
    for path in (DOCS / "migration").glob("*.md"):
        _, *parts = re.split(r"^## .*: (\d+) lines.*$", path.read_text(), flags=re.MULTILINE)
        for number, text in zip(parts[::2], parts[1::2], strict=True):
            section = re.split(r"^## ", text, flags=re.MULTILINE)[0]
            assert code_lines(section) == int(number), (path.stem, number)


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
