"""The keywords in docstrings and signatures."""

from __future__ import annotations

import textwrap

from mpidask import docstrings
from mpidask.docstrings import DocumentedKeyword
from mpidask.jobqueue.keywords.table import known

__all__ = ["document", "entries", "keywords"]


def document(system: str) -> str:
    """Return the keywords of a batch system for the docstring of a class, indented as that is."""
    return textwrap.indent("\n".join(entries(system)), "    ")


def entries(system: str) -> list[str]:
    """Return the keywords of a batch system, each as numpydoc has it."""
    return [docstrings.entry(each.name, each.kind, each.text) for each in keywords(system)]


def keywords(system: str) -> list[DocumentedKeyword]:
    """Return the keywords of a batch system, as editors show them."""
    kinds = ((each, each.kind_of(system)) for each in known(system))
    return [
        DocumentedKeyword(each.name, f"{kind.annotation} | None", f"{kind.expected.rstrip(',')}, optional", each.help)
        for each, kind in kinds
    ]
