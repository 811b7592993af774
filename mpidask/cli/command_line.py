"""Command lines: the options of a dataclass as click has them, and where the user's program begins."""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import re
import shlex
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from mpidask.cli import habits
from mpidask.errors import UsageError
from mpidask.run_directory import NO_REPORT

if TYPE_CHECKING:
    from mpidask.launch.script.main_module import Program

__all__ = ["options_of", "program_of", "read", "split", "split_at_script", "takes_next", "typed_as"]


def options_of(kind: type, without: Collection[str] = ()) -> list[click.Parameter]:
    """Return the fields of a dataclass of options, but for some, as options of a command."""
    fields = [field for field in dataclasses.fields(kind) if field.name not in without]
    return [option for field in fields for option in (*_without(field.name), _option(field))]


def _without(name: str) -> Iterator[click.Option]:
    """Yield the option that switches another one off, where that one takes a value."""
    if name == "report":
        yield click.Option(["--no-report", name], is_flag=True, flag_value=NO_REPORT, default=None, hidden=True)


def typed_as(name: str) -> str:
    """Return how a command is typed: `python -m mpidask` is `mpidask run` by another name."""
    parts = sys.argv[0].split(os.sep)[-2:]
    return "python -m mpidask" if name == "run" and parts == ["mpidask", "__main__.py"] else f"mpidask {name}"


def read(command: click.Command, words: Sequence[str]) -> dict[str, Any] | str:
    """Return the options that a command line gives, or a text to print; raises UsageError."""
    name = str(command.name)
    try:
        context = command.make_context(typed_as(name), list(words))
    except click.exceptions.Exit:
        return ""
    except click.ClickException as error:
        raise _as_usage_error(error, name) from None
    given = context.params
    every = given.pop("help_all")
    if given.pop("help") or every:
        context.meta["every option"] = every
        return command.get_help(context)
    if given.pop("version"):
        from mpidask import __version__

        return f"mpidask {__version__}"
    return given


def _as_usage_error(error: click.ClickException, name: str) -> UsageError:
    listed = f"{typed_as(name)} --help-all lists the options"
    if isinstance(error, click.NoSuchOption):
        close = difflib.get_close_matches(error.option_name, error.possibilities or (), 1)
        passed = "; --directive=OPTION is for those of the batch system" if name in habits.ASKING else ""
        hint = f"did you mean {close[0]}? " if close else ""
        return UsageError(f"{typed_as(name)} has no option {error.option_name}", f"{hint}{listed}{passed}")
    what = error.format_message().strip().removesuffix(".")
    return UsageError(what[:1].lower() + what[1:], getattr(error, "remedy", "") or listed)


def split(argv: Sequence[str], command: click.Command) -> tuple[Sequence[str], Sequence[str]]:
    """Divide a command line: the options of mpidask, and the program with its arguments.

    The program begins at `--`, `-m`, `-c` or the first word that is no option. Raises UsageError for an option of
    mpidask after it, unless a `--` says that it is the program's, and for what other launchers would understand.
    """
    ours, program = split_at_script(argv, command)
    taken, rest = _misplaced(program, command)
    if taken:
        read(command, ours)  # what is wrong first is reported first
        raise _misplacement(command, ours, taken, program, rest)
    return ours, program


def split_at_script(argv: Sequence[str], command: click.Command) -> tuple[Sequence[str], Sequence[str]]:
    """Divide a command line at the first word that is neither an option nor the value of one.

    Raises UsageError for what other launchers would understand.
    """
    options = _names(command)
    index = 0
    while index < len(argv):
        word, following = argv[index], argv[index + 1 :]
        habits.check(typed_as(str(command.name)), word, following, options)
        if word in ("--", "-", "-m", "-c") or not word.startswith("-"):
            return argv[:index], argv[index:]
        index += 2 if word in options and takes_next(options[word]) else 1
    return argv, ()


def program_of(words: Sequence[str]) -> Program | None:
    """Return the program that a command line ends with, as `split` has found it; None for none."""
    from mpidask.launch.script.main_module import Program

    words = words[1:] if words[:1] == ["--"] else words
    if not words:
        return None
    if words[0] in ("-m", "-c"):
        if len(words) == 1:
            raise UsageError(
                f"{words[0]} needs a {'module' if words[0] == '-m' else 'text'} to run",
                'write -m package.module, or -c "code"',
            )
        return Program("module" if words[0] == "-m" else "code", words[1], tuple(words[2:]))
    return Program("file", words[0], tuple(words[1:]))


def takes_next(option: click.Parameter) -> bool:
    """Whether the word after an option is its value."""
    return not getattr(option, "is_flag", False) and not _is_optional(str(option.metavar or ""))


def _names(command: click.Command) -> dict[str, click.Parameter]:
    """Return option as it is typed -> parameter."""
    every = [option for option in command.params if option.param_type_name == "option"]
    return {name: option for option in every for name in (*option.opts, *option.secondary_opts)}


def _misplaced(program: Sequence[str], command: click.Command) -> tuple[list[str], list[str]]:
    """Return the options of mpidask among a program's arguments, with their values, and all other words (pure)."""
    its_own = _options_of_notebooks(program)
    options = {name: option for name, option in _names(command).items() if name not in its_own}
    first = 2 if program[:1] in (["-m"], ["-c"]) else 1
    end = len(program) if "--" not in program else program.index("--")
    taken: list[str] = []
    rest = list(program[:first])
    index = first
    while index < end:
        word = program[index]
        name = word.partition("=")[0]
        if re.match(r"-[a-zA-Z]\d", word):  # a value that is attached: -N4
            name = word[:2]
        option = options.get(name)
        more = 2 if option is not None and name == word and takes_next(option) else 1
        (rest if option is None else taken).extend(program[index : min(index + more, end)])
        index += more
    return taken, [*rest, *program[max(first, end) :]]


def _options_of_notebooks(program: Sequence[str]) -> Sequence[str]:
    """Return the options that stand after the program where that is a notebook."""
    from mpidask.launch.script import notebook

    return notebook.OPTIONS if program and notebook.is_notebook("file", program[0]) else ()


def _misplacement(
    command: click.Command, ours: Sequence[str], taken: list[str], program: Sequence[str], rest: list[str]
) -> UsageError:
    typed = typed_as(str(command.name))
    script = f"{program[0]} {program[1]}" if program[0] in ("-m", "-c") else program[0]
    before = shlex.join([*typed.split(), *ours, *taken, *rest])
    after = shlex.join([*typed.split(), *ours, "--", *program])
    return UsageError(
        f"{taken[0]} is an option of mpidask, and stands after the script ({script})",
        f"if mpidask is to read it: {before}\nif the script is to read it: {after}",
    )


def _is_optional(metavar: str) -> bool:
    """Whether an option's value may be left out, and is otherwise given after a `=`."""
    return metavar.startswith("[=")


class _Json(click.ParamType[Mapping[str, Any]]):
    """The type of an option whose value is a mapping."""

    name = "JSON"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Mapping[str, Any]:
        """Return the mapping; raises BadParameter with how to write it."""
        try:
            mapping = value if isinstance(value, Mapping) else json.loads(value)
        except ValueError:
            mapping = None
        if not isinstance(mapping, Mapping):
            option = param.opts[0] if param else ""
            error = click.BadParameter(f"{value!r} is no mapping in JSON.", ctx, param)
            error.remedy = f'put JSON in single quotes: {option} \'{{"key": "value"}}\''  # type: ignore[attr-defined]
            raise error
        return mapping


def _option(field: Any) -> click.Option:
    flag = "--" + field.name.replace("_", "-")
    text, metavar, short = (field.metadata[key] for key in ("help", "metavar", "short"))
    text += "".join(_default(field))
    if field.type.startswith("bool"):
        off = "--exclusive-workers" if field.name == "inclusive_workers" else f"--no-{flag[2:]}"
        return click.Option([f"{flag}/{off}"], default=None, help=text)
    several = field.type.startswith("tuple")
    names = [flag, *short, field.name]
    if _is_optional(metavar):
        return click.Option(names, is_flag=False, flag_value="auto", default=None, metavar=metavar, help=text)
    kind: Any = int if field.type.startswith("int") else _Json() if field.type.startswith("Mapping") else str
    return click.Option(names, type=kind, default=None, metavar=metavar, help=text, multiple=several)


def _default(field: Any) -> Iterator[str]:
    """Yield what is to be said of an option's default, where its text does not say it."""
    if field.type == "bool":
        yield f" Default: {'on' if field.default else 'off'}."
    elif field.default not in (None, ()):
        yield f" Default: {field.default}."
