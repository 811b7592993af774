"""`mpidask docs`, `completion`, and what a shell completes: commands, options and job ids."""

from __future__ import annotations

import importlib
import os
import sys
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path

import click
from click.shell_completion import get_completion_class, shell_complete

from mpidask.cli import commands, common
from mpidask.cli.help_page import Command
from mpidask.errors import UsageError

__all__ = ["COMMANDS", "answer"]

_DOCS = """\
Open the documentation of this version in a browser, and print where it is.

It needs no network. Without a display the address is printed only."""

_COMPLETION = """\
Print the completion of commands, options and job ids for a shell.

Have the shell's start-up file evaluate it, as in the examples."""

_SHELLS = ("bash", "zsh", "fish")

_PACKAGE = Path(__file__).parents[1]

#: Where the documentation may be: in a wheel of `./do wheel`, and in a clone after `./do docs`.
_PLACES = (_PACKAGE / "site", _PACKAGE.parent / ".site")


class _Commands(click.Group):
    """All commands; each is made when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return their names."""
        return [name for name in commands.modules() if _describer(name) is not None]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return one of them."""
        describe = _describer(cmd_name) if cmd_name in commands.modules() else None
        return None if describe is None else describe()


def _describer(name: str) -> Callable[[], click.Command] | None:
    describe: Callable[[], click.Command] | None = importlib.import_module(
        f"mpidask.cli.{commands.modules()[name]}"
    ).COMMANDS[name][0]
    return describe


def answer() -> int:
    """Answer a shell that asks how a command line may go on; return an exit status."""
    return shell_complete(_Commands("mpidask"), {}, "mpidask", commands.COMPLETE, os.environ[commands.COMPLETE])


def _docs(argv: Sequence[str]) -> int:
    if common.read(_docs_command(), argv) is None:
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


def _completion(argv: Sequence[str]) -> int:
    given = common.read(_completion_command(), argv)
    if given is None:
        return 0
    kind = get_completion_class(given["shell"] or "")
    if given["shell"] not in _SHELLS or kind is None:
        raise UsageError(
            f"there is no completion for the shell {given['shell']!r}" if given["shell"] else "no shell was named",
            f"name one of {', '.join(_SHELLS)}: mpidask completion bash",
        )
    print(kind(_Commands("mpidask"), {}, "mpidask", commands.COMPLETE).source())
    return 0


def _docs_command() -> click.Command:
    return Command("docs", _DOCS, [], examples=["mpidask docs"])


def _completion_command() -> click.Command:
    return Command(
        "completion",
        _COMPLETION,
        [click.Argument(["shell"], required=False)],
        arguments="{bash|zsh|fish}",
        examples=[
            """echo 'eval "$(mpidask completion bash)"' >> ~/.bashrc""",
            """echo 'eval "$(mpidask completion zsh)"' >> ~/.zshrc""",
            "mpidask completion fish > ~/.config/fish/completions/mpidask.fish",
        ],
    )


COMMANDS = {
    "docs": (_docs_command, _docs),
    "completion": (_completion_command, _completion),
}
