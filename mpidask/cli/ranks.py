"""`mpidask run` and `mpidask serve`: what every rank of a job runs."""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from mpidask import run_directory
from mpidask.cli import words

if TYPE_CHECKING:
    from mpidask.launch.cluster.run import Invocation
    from mpidask.launch.comm.rank import Rank
    from mpidask.launch.watchdog.interruption import Interruption
    from mpidask.launch.watchdog.script_process import ScriptProcess

__all__ = ["become_rank", "parse_run", "parse_serve", "run_rank"]

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
    from mpidask.launch.watchdog.script_process import ScriptProcess

    script = ScriptProcess.start_early(sys.argv[1:]) if parse is parse_run else None
    from mpidask.launch.comm.rank import Rank

    run_rank(Rank.join(watchdog), script, interruption, parse)


def run_rank(
    rank: Rank,
    script: ScriptProcess | None,
    interruption: Interruption,
    parse: Callable[[Sequence[str]], Invocation] | None = None,
) -> NoReturn:
    """Take part in a run as this rank, to its end.

    script:       the process started for the script, if this rank seems to be the one that runs it
    interruption: what ends this rank at a signal, until it has a role
    parse:        reads the command line; `parse_run` if None
    """
    from mpidask.launch.command import run

    run(rank, functools.partial(parse or parse_run, sys.argv[1:]), interruption, script)


def parse_run(argv: Sequence[str]) -> Invocation:
    """Read `mpidask run`'s command line: the options and the program.

    Raises UsageError, or TextOnlyError for --help and --version.
    """
    from mpidask.config import Options, load
    from mpidask.errors import TextOnlyError, UsageError
    from mpidask.launch.cluster.run import Invocation

    command = words.command("run", _RUN, words.options_of(Options))
    ours, program = words.split(argv, command)
    given = words.read(command, ours)
    if isinstance(given, str):
        raise TextOnlyError(given)
    if program is None:
        raise UsageError(
            "no script was given", 'add one: mpidask run script.py, mpidask run -m package.module or -c "code"'
        )
    return Invocation(load(given), program)


def parse_serve(argv: Sequence[str]) -> Invocation:
    """Read `mpidask serve`'s command line: the options; raises as `parse_run` does."""
    import click

    from mpidask.config import Options, load
    from mpidask.errors import TextOnlyError
    from mpidask.launch.cluster.run import Invocation

    address = click.Argument(["scheduler_address"], required=False)
    options = words.options_of(Options, {*_OF_SCRIPTS, "scheduler_address"})
    given = words.read(words.command("serve", _SERVE, [address, *options]), argv)
    if isinstance(given, str):
        raise TextOnlyError(given)
    directory = os.environ.get(run_directory.DIRECTORY)
    if directory and given["scheduler_file"] is None and given["scheduler"] is not False:
        given = {**given, "scheduler_file": os.path.join(directory, run_directory.SCHEDULER)}
    chosen = load(given)
    # A name for those who join from elsewhere is made of the run's id: names must not be taken twice.
    return Invocation(dataclasses.replace(chosen, name=chosen.name or ("mpidask" if chosen.scheduler else None)), None)
