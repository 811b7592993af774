"""The code blocks of the documentation's pages, each with what the comment before it says.

::

    <!-- file: NAME -->       a file that later blocks use
    <!-- run -->              commands of a shell, or cells of a notebook: one session for each page
    <!-- run: COMMAND -->     a script, script.py, that this command runs
    <!-- output -->           lines that the block before prints, in this order
    <!-- output: WHY -->      the same, but only the first two words of each line are compared, without numbers
    <!-- not run: WHY -->
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

_BLOCK = re.compile(r"(?:^ *<!-- (.*?) -->\n)?^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Block:
    """A code block of a page."""

    page: str
    what: str
    words: str
    language: str
    text: str


def blocks(path: Path) -> list[Block]:
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


def code_lines(text: str) -> int:
    """Return how many lines of code the blocks of a text have, without empty ones."""
    return sum(bool(line.strip()) for *_, code in _BLOCK.findall(text) for line in code.splitlines())


def is_printed(block: Block, printed: str) -> bool:
    """Whether all lines of a block `output` are in what was printed, in their order."""

    def known(line: str) -> str:
        return re.sub(r"\d+", "0", " ".join(line.split()[:2])) if block.words else line.strip()

    wanted = [known(line) for line in block.text.splitlines()]
    rest = iter([known(line) for line in printed.splitlines()])
    return all(line in rest for line in wanted)
