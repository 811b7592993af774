"""The `mpidask` command: arguments in, calls out."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    import click

    from mpidask.config import Options
    from mpidask.launch.program import Program
    from mpidask.launch.world import World

__all__ = ["main", "parse_run", "run_rank"]

_USAGE = """\
Run a Dask script on the ranks of this MPI job.

\b
  mpirun -n 8 python -m mpidask [OPTIONS] script.py [ARGUMENTS]
  mpirun -n 8 python -m mpidask [OPTIONS] -m package.module [ARGUMENTS]
  mpirun -n 8 python -m mpidask [OPTIONS] -c "code" [ARGUMENTS]

Rank 0 hosts Dask's scheduler, rank 1 runs the script, the other ranks are workers. Client() in the script connects by
itself. Options may also stand in ~/.config/dask/mpidask.yaml or as DASK_MPIDASK__NAME in the environment."""


def main() -> None:
    """Entry point of the console command."""
    words = sys.argv[1:]
    if words[:1] == ["run"]:
        sys.argv[1:2] = []
        _become_rank()
    elif words[:1] == ["config"]:
        from mpidask.config import template

        sys.stdout.write(template())
    elif words in (["--version"], ["-V"]):
        from mpidask import __version__

        print(f"mpidask {__version__}")
    else:
        wanted = words in ([], ["--help"], ["-h"])
        unknown = "" if wanted else f"mpidask: error: unknown command: {' '.join(words)}\n\n"
        print(f"{unknown}{_COMMANDS}", end="", file=sys.stdout if wanted else sys.stderr)
        sys.exit(0 if wanted else 2)


_COMMANDS = """\
Usage: mpidask COMMAND

  run     run a script on the ranks of this MPI job: mpirun -n 8 mpidask run script.py (--help for its options)
  config  print a commented mpidask.yaml
"""


def _become_rank() -> NoReturn:
    from mpidask.launch.guardian import Guardian

    guardian = Guardian.start()
    from mpidask.launch.world import World

    run_rank(World.join(guardian))


def run_rank(world: World) -> NoReturn:
    """Take part in a run as this rank, to its end."""
    from mpidask.launch.session import run

    run(world, sys.argv[1:], parse_run)


def parse_run(argv: Sequence[str]) -> tuple[Options, Program] | str:
    """Read `mpidask run`'s command line: the options and the program, or the help text to print.

    Raises UsageError.
    """
    import click

    from mpidask.config import load
    from mpidask.errors import UsageError

    command = _run_command()
    ours, program = _split(argv, command)
    try:
        context = command.make_context("mpidask run", list(ours), resilient_parsing=False)
    except click.exceptions.Exit:
        return ""  # --version has printed
    except click.ClickException as error:
        raise UsageError(error.format_message(), "mpidask run --help lists the options") from None
    if context.params.pop("help"):
        return command.get_help(context)
    if context.params.pop("version"):
        from mpidask import __version__

        return f"mpidask {__version__}"
    if program is None:
        raise UsageError(
            "no script was given", 'add one: mpidask run script.py, mpidask run -m package.module or -c "code"'
        )
    return load(context.params), program


def _split(argv: Sequence[str], command: click.Command) -> tuple[Sequence[str], Program | None]:
    """Divide a command line at the program: what comes after it is the program's own."""
    from mpidask.launch.program import Program

    takes_value = {name for option in command.params if not getattr(option, "is_flag", False) for name in option.opts}
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


def _file(words: Sequence[str]) -> Program | None:
    from mpidask.launch.program import Program

    return Program("file", words[0], tuple(words[1:])) if words else None


def _run_command() -> click.Command:
    """Return the command whose options are the fields of Options."""
    import click

    from mpidask.config import Options

    flags = [
        click.Option(["--help", "-h"], is_flag=True, help="Show this message."),
        click.Option(["--version"], is_flag=True, help="Show the version."),
    ]
    options = [_click_option(field) for field in dataclasses.fields(Options)]
    return click.Command("run", params=[*options, *flags], help=_USAGE, add_help_option=False)


def _click_option(field: Any) -> click.Option:
    import click

    flag = "--" + field.name.replace("_", "-")
    text, metavar = field.metadata["help"], field.metadata["metavar"]
    if field.type == "bool":
        off = "--exclusive-workers" if field.name == "inclusive_workers" else f"--no-{flag[2:]}"
        return click.Option([f"{flag}/{off}"], default=None, help=text)
    kind = int if field.type.startswith("int") else str
    shown = f" [default: {field.default}]" if field.default is not None else ""
    return click.Option([flag], type=kind, default=None, metavar=metavar, help=text + shown)
