"""`mpidask docs`: where the documentation is."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

import click

from mpidask.cli import common
from mpidask.cli.help_page import Command
from mpidask.errors import UsageError

__all__ = ["COMMANDS"]

_DOCS = """\
Open the documentation of this version in a browser, and print where it is.

It needs no network. Without a display the address is printed only."""

_PACKAGE = Path(__file__).parents[1]

#: In a wheel of `./do wheel`, and in a clone after `./do docs`.
_PLACES = (_PACKAGE / "site", _PACKAGE.parent / ".site")


def _docs(argv: Sequence[str]) -> int:
    if common.read(_command(), argv) is None:
        return 0
    page = next((each / "index.html" for each in _PLACES if (each / "index.html").exists()), None)
    if page is None:
        raise UsageError(
            f"this installation has no documentation (looked in {_PLACES[0]})",
            "in a clone of the repository, ./do docs builds it; its pages can be read there in docs/, too",
        )
    print(page.as_uri())
    if sys.stdout.isatty() and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        webbrowser.open(page.as_uri())
    return 0


def _command() -> click.Command:
    return Command("docs", _DOCS, [], examples=["mpidask docs"])


COMMANDS = {"docs": (_command, _docs)}
