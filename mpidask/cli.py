"""The `mpidask` command: arguments in, calls out."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    import click

    from mpidask.launch.program import Program
    from mpidask.launch.run import Order
    from mpidask.launch.world import World

__all__ = ["main", "parse_run", "parse_serve", "run_rank"]

_RUN = """\
Run a Dask script on the ranks of this MPI job.

\b
  mpirun -n 8 python -m mpidask [OPTIONS] script.py [ARGUMENTS]
  mpirun -n 8 python -m mpidask [OPTIONS] -m package.module [ARGUMENTS]
  mpirun -n 8 python -m mpidask [OPTIONS] -c "code" [ARGUMENTS]

Rank 0 hosts Dask's scheduler, rank 1 runs the script, the other ranks are workers. Client() in the script connects by
itself. Options may also stand in ~/.config/dask/mpidask.yaml or as DASK_MPIDASK__NAME in the environment."""

_SERVE = """\
Start a scheduler and workers on the ranks of this MPI job, for clients that come from elsewhere.

\b
  mpirun -n 8 mpidask serve --scheduler-file FILE [OPTIONS]
  mpirun -n 8 mpidask serve --scheduler-file FILE --no-scheduler [OPTIONS]
  mpirun -n 8 mpidask serve --no-scheduler [OPTIONS] SCHEDULER_ADDRESS

Clients connect with Client(scheduler_file=FILE). With --no-scheduler all ranks are workers that join the cluster of
that file. The cluster ends when a client calls shutdown(), or at SIGINT or SIGTERM."""

#: Options that make no sense without a script.
_OF_SCRIPTS = ("client_rank", "thread_grace")


def main() -> None:
    """Entry point of the console command."""
    words = sys.argv[1:]
    if words[:1] == ["run"]:
        sys.argv[1:2] = []
        _become_rank(parse_run)
    elif words[:1] == ["serve"]:
        sys.argv[1:2] = []
        _become_rank(parse_serve)
    elif words[:1] == ["config"]:
        from mpidask.config import template

        sys.stdout.write(template())
    elif words in (["--version"], ["-V"]):
        from mpidask import __version__

        print(f"mpidask {__version__}")
    elif words and words[0].startswith("--") and words[0] != "--help":
        _become_rank(parse_serve)  # as the command dask-mpi has it
    else:
        wanted = words in ([], ["--help"], ["-h"])
        unknown = "" if wanted else f"mpidask: error: unknown command: {' '.join(words)}\n\n"
        print(f"{unknown}{_COMMANDS}", end="", file=sys.stdout if wanted else sys.stderr)
        sys.exit(0 if wanted else 2)


_COMMANDS = """\
Usage: mpidask COMMAND

  run     run a script on the ranks of this MPI job: mpirun -n 8 mpidask run script.py (--help for its options)
  serve   scheduler and workers for clients from elsewhere: mpirun -n 8 mpidask serve --scheduler-file FILE
  config  print a commented mpidask.yaml
"""


def _become_rank(parse: Callable[[Sequence[str]], Order | str]) -> NoReturn:
    from mpidask.launch.guardian import Guardian

    guardian = Guardian.start()
    from mpidask.launch.world import World

    run_rank(World.join(guardian), parse)


def run_rank(world: World, parse: Callable[[Sequence[str]], Order | str] | None = None) -> NoReturn:
    """Take part in a run as this rank, to its end.

    parse: reads the command line; `parse_run` if None
    """
    from mpidask.launch.run import run

    run(world, lambda: (parse or parse_run)(sys.argv[1:]))


def parse_run(argv: Sequence[str]) -> Order | str:
    """Read `mpidask run`'s command line: the options and the program, or the help text to print.

    Raises UsageError.
    """
    from mpidask.config import load
    from mpidask.errors import UsageError
    from mpidask.launch.run import Order

    command = _command("run", _RUN)
    ours, program = _split(argv, command)
    given = _read(command, ours)
    if isinstance(given, str):
        return given
    if program is None:
        raise UsageError(
            "no script was given", 'add one: mpidask run script.py, mpidask run -m package.module or -c "code"'
        )
    return Order(load(given), program)


def parse_serve(argv: Sequence[str]) -> Order | str:
    """Read `mpidask serve`'s command line: the options, or the help text to print; raises UsageError."""
    import click

    from mpidask.config import load
    from mpidask.launch.run import Order

    address = click.Argument(["scheduler_address"], required=False)
    given = _read(_command("serve", _SERVE, {*_OF_SCRIPTS, "scheduler_address"}, [address]), argv)
    if isinstance(given, str):
        return given
    options = load(given)
    # A name for those who join from elsewhere is made of the run's id: names must not be taken twice.
    return Order(dataclasses.replace(options, name=options.name or ("mpidask" if options.scheduler else None)), None)


def _read(command: click.Command, words: Sequence[str]) -> dict[str, Any] | str:
    """Return the options that a command line gives, or a text to print; raises UsageError."""
    import click

    from mpidask.errors import UsageError

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


def _command(
    name: str, usage: str, without: Collection[str] = (), arguments: Sequence[click.Parameter] = ()
) -> click.Command:
    """Return a command whose options are the fields of Options, but for some."""
    import click

    from mpidask.config import Options

    flags = [
        click.Option(["--help", "-h"], is_flag=True, help="Show this message."),
        click.Option(["--version"], is_flag=True, help="Show the version."),
    ]
    options = [_click_option(field) for field in dataclasses.fields(Options) if field.name not in without]
    return click.Command(name, params=[*arguments, *options, *flags], help=usage, add_help_option=False)


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
