"""The keywords in docstrings."""

from __future__ import annotations

import textwrap

from mpidask import docstrings
from mpidask.jobqueue.keywords.table import known

__all__ = ["document", "entries"]


def document(system: str) -> str:
    """Return the keywords of a batch system for the docstring of a class, indented as that is."""
    return textwrap.indent("\n".join(entries(system)), "    ")


def entries(system: str) -> list[str]:
    """Return the keywords of a batch system, each as numpydoc has it."""
    return [
        docstrings.entry(each.name, f"{each.kind_of(system).expected.rstrip(',')}, optional", each.help)
        for each in known(system)
    ]
