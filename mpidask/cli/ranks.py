"""`mpidask run` and `mpidask serve`: what every rank of a job runs."""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from mpidask import run_directory

if TYPE_CHECKING:
    import click

    from mpidask.launch.cluster.run import Invocation
    from mpidask.launch.comm.rank import Rank
    from mpidask.launch.watchdog.interruption import Interruption

__all__ = ["COMMANDS", "become_rank", "parse_run", "parse_serve", "run_command", "run_rank", "serve_command"]

_RUN = """\
Run a Dask script on the ranks of this MPI job.

Rank 0 hosts Dask's scheduler, rank 1 runs the script, the other ranks are workers. Client() in the script connects by
itself. Options stand before the script; what comes after it is the script's. They may also stand in
~/.config/dask/mpidask.yaml, or in the environment as DASK_MPIDASK__NAME."""

_SERVE = """\
Start a scheduler and workers on the ranks of this MPI job, for clients from elsewhere.

Clients connect with mpidask.connect("FILE"), which finds the keys there. With --no-scheduler all ranks are workers that
join the cluster of that file. The cluster ends when a client calls shutdown(), or at SIGINT or SIGTERM."""

#: Options that make no sense without a script.
_OF_SCRIPTS = ("client_rank", "thread_grace", "local_cluster")


def become_rank(parse: Callable[[Sequence[str]], Invocation]) -> NoReturn:
    """Bring MPI up and take part in a run as this rank, to its end."""
    from mpidask.launch.watchdog.interruption import Interruption

    interruption = Interruption()
    from mpidask.launch.watchdog.watchdog import Watchdog

    watchdog = Watchdog.start()
    interruption.also_in_c()
    from mpidask.launch.watchdog.early_processes import EarlyProcesses

    early = EarlyProcesses.start(sys.argv[1:], has_script=parse is parse_run)
    from mpidask.launch.comm.rank import Rank

    run_rank(Rank.join(watchdog, early=early), interruption, parse)


def run_rank(
    rank: Rank,
    interruption: Interruption,
    parse: Callable[[Sequence[str]], Invocation] | None = None,
) -> NoReturn:
    """Take part in a run as this rank, to its end.

    interruption: what ends this rank at a signal, until it has a role
    parse:        reads the command line; `parse_run` if None
    """
    from mpidask.launch.command import run

    run(rank, functools.partial(parse or parse_run, sys.argv[1:]), interruption)


def parse_run(argv: Sequence[str]) -> Invocation:
    """Read `mpidask run`'s command line: the options and the program.

    Raises UsageError, or TextOnlyError for --help and --version.
    """
    from mpidask.cli import command_line
    from mpidask.errors import TextOnlyError, UsageError
    from mpidask.launch.cluster.run import Invocation
    from mpidask.options.loading import load

    command = run_command()
    ours, words = command_line.split(argv, command)
    given = command_line.read(command, ours)
    if isinstance(given, str):
        raise TextOnlyError(given)
    program = command_line.program_of(words)
    if program is None:
        raise UsageError(
            "no script was given", 'add one: mpidask run script.py, mpidask run -m package.module or -c "code"'
        )
    return Invocation(load(given), program)


def parse_serve(argv: Sequence[str]) -> Invocation:
    """Read `mpidask serve`'s command line: the options; raises as `parse_run` does."""
    from mpidask.cli import command_line
    from mpidask.errors import TextOnlyError
    from mpidask.launch.cluster.run import Invocation
    from mpidask.options.loading import load

    given = command_line.read(serve_command(), argv)
    if isinstance(given, str):
        raise TextOnlyError(given)
    directory = os.environ.get(run_directory.DIRECTORY)
    if directory and given["scheduler_file"] is None and given["scheduler"] is not False:
        given = {**given, "scheduler_file": os.path.join(directory, run_directory.SCHEDULER)}
    chosen = load(given)
    # A name for those who join from elsewhere is made of the run's id: names must not be taken twice.
    return Invocation(dataclasses.replace(chosen, name=chosen.name or ("mpidask" if chosen.scheduler else None)), None)


def run_command() -> click.Command:
    """Return `mpidask run` as it is typed."""
    from mpidask.cli import command_line
    from mpidask.cli.help_page import CommandWithHelp
    from mpidask.config import Options

    examples = ["mpirun -n 8 python -m mpidask script.py year=2026", 'mpirun -n 8 python -m mpidask -c "print(1)"']
    params = command_line.options_of(Options)
    return CommandWithHelp("run", _RUN, params, arguments="SCRIPT [ARGS]", examples=examples, runs=True)


def serve_command() -> click.Command:
    """Return `mpidask serve` as it is typed."""
    import click

    from mpidask.cli import command_line
    from mpidask.cli.help_page import CommandWithHelp
    from mpidask.config import Options

    address = click.Argument(["scheduler_address"], required=False)
    params = [address, *command_line.options_of(Options, {*_OF_SCRIPTS, "scheduler_address"})]
    examples = [
        "mpirun -n 8 mpidask serve --scheduler-file FILE",
        "mpirun -n 8 mpidask serve --scheduler-file FILE --no-scheduler",
    ]
    return CommandWithHelp("serve", _SERVE, params, arguments="[SCHEDULER_ADDRESS]", examples=examples)


COMMANDS = {"run": (run_command, parse_run), "serve": (serve_command, parse_serve)}
