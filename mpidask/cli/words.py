"""Command lines: the options of a dataclass as click has them, and where the user's program begins."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from mpidask.errors import UsageError

if TYPE_CHECKING:
    import click

    from mpidask.launch.script.main_module import Program

__all__ = ["command", "options_of", "read", "split", "takes_next"]


def command(name: str, usage: str, params: Sequence[click.Parameter]) -> click.Command:
    """Return a command with these parameters, --help and --version."""
    import click

    flags = [
        click.Option(["--help", "-h"], is_flag=True, help="Show this message."),
        click.Option(["--version"], is_flag=True, help="Show the version."),
    ]
    return click.Command(name, params=[*params, *flags], help=usage, add_help_option=False)


def options_of(kind: type, without: Collection[str] = ()) -> list[click.Parameter]:
    """Return the fields of a dataclass of options, but for some, as options of a command."""
    return [_option(field) for field in dataclasses.fields(kind) if field.name not in without]


def read(command: click.Command, words: Sequence[str]) -> dict[str, Any] | str:
    """Return the options that a command line gives, or a text to print; raises UsageError."""
    import click

    try:
        context = command.make_context(f"mpidask {command.name}", list(words), resilient_parsing=False)
    except click.exceptions.Exit:
        return ""
    except click.ClickException as error:
        raise UsageError(error.format_message(), f"mpidask {command.name} --help lists the options") from None
    if context.params.pop("help"):
        return command.get_help(context)
    if context.params.pop("version"):
        from mpidask import __version__

        return f"mpidask {__version__}"
    return context.params


def split(argv: Sequence[str], command: click.Command) -> tuple[Sequence[str], Program | None]:
    """Divide a command line at the program: what comes after it is the program's own."""
    from mpidask.launch.script.main_module import Program

    takes_value = {name for option in command.params if takes_next(option) for name in option.opts}
    index = 0
    while index < len(argv):
        word = argv[index]
        if word in ("-m", "-c") and index + 1 < len(argv):
            kind = "module" if word == "-m" else "code"
            return argv[:index], Program(kind, argv[index + 1], tuple(argv[index + 2 :]))
        if word == "--":
            return argv[:index], _file(argv[index + 1 :])
        if not word.startswith("-") or word == "-":
            return argv[:index], _file(argv[index:])
        index += 2 if word in takes_value else 1
    return argv, None


def takes_next(option: click.Parameter) -> bool:
    """Whether the word after an option is its value."""
    return not getattr(option, "is_flag", False) and not _is_optional(option.metavar or "")


def _is_optional(metavar: str) -> bool:
    """Whether an option's value may be left out, and is otherwise given after a `=`."""
    return metavar.startswith("[=")


def _file(words: Sequence[str]) -> Program | None:
    from mpidask.launch.script.main_module import Program

    return Program("file", words[0], tuple(words[1:])) if words else None


def _option(field: Any) -> click.Option:
    import click

    flag = "--" + field.name.replace("_", "-")
    text, metavar, short = (field.metadata[key] for key in ("help", "metavar", "short"))
    if field.type.startswith("bool"):
        off = "--exclusive-workers" if field.name == "inclusive_workers" else f"--no-{flag[2:]}"
        return click.Option([f"{flag}/{off}"], default=None, help=text)
    kind = int if field.type.startswith("int") else str
    shown = f" [default: {field.default}]" if field.default not in (None, ()) else ""
    several = field.type.startswith("tuple")
    names = [*short, flag, field.name]
    if _is_optional(metavar):
        return click.Option(names, is_flag=False, flag_value="auto", default=None, metavar=metavar, help=text)
    return click.Option(names, type=kind, default=None, metavar=metavar, help=text + shown, multiple=several)
