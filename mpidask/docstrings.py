"""Docstrings of classes whose parameters are described beside options: written as numpydoc has them."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterable

__all__ = ["entry", "with_entries"]

_WIDTH = 112


def entry(name: str, kind: str, text: str) -> str:
    """Return one parameter as numpydoc has it.

    kind: what its value may be, in words
    text: what it means
    """
    return f"{name} : {kind}\n{textwrap.indent(textwrap.fill(text, _WIDTH), '    ')}"


def with_entries(docstring: str | None, entries: Iterable[str], *, before: str) -> str:
    """Return a docstring, without indentation, with more parameters.

    before: the line ahead of which they come
    """
    lines = inspect.cleandoc(docstring or "").split("\n")
    index = lines.index(before) if before in lines else len(lines)  # python -OO has no docstrings
    return "\n".join([*lines[:index], *entries, *lines[index:]])
