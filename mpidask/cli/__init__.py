"""The `mpidask` command: arguments in, calls out.

Runs in a shell on a login node (`submit`, `jobs`, `follow`, `attach`) and in every rank of a run (`ranks`). May import
every room, each command only what it needs: this module imports little, so that `mpidask --help` is there at once.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

from mpidask.cli import commands

__all__ = ["main"]


def _open_what_is_closed() -> None:
    """Have standard files where the descriptors are closed, and Python has none."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            file = open(os.devnull, mode)  # noqa: SIM115 - as Python's own
            os.set_inheritable(file.fileno(), True)
            setattr(sys, name, file)


def main(given: Sequence[str] | None = None) -> None:
    """Entry point of the console command.

    given: the words after its name; None for those of this process
    """
    _open_what_is_closed()
    words = [*(sys.argv[1:] if given is None else given)]
    if commands.COMPLETE in os.environ:
        from mpidask.cli import about

        sys.exit(about.answer())
    if len(words) > 1 and words[0] == "help":
        words = [words[1], "--help"]
    name = words[0] if words else "help"
    if name in commands.OF_RANKS:
        _become_rank(name, words[1:])
    elif name in commands.modules():
        from mpidask.cli import common

        run = importlib.import_module(f"{__name__}.{commands.modules()[name]}").COMMANDS[name][1]
        sys.exit(common.guarded(lambda: run(words[1:])))
    elif name in commands.HELP:
        _print_once(commands.overview(coloured=sys.stdout.isatty() and "NO_COLOR" not in os.environ))
    elif name in commands.VERSION:
        from mpidask import __version__

        _print_once(f"mpidask {__version__}\n")
    elif name.startswith("--"):  # as the command dask-mpi has it
        _become_rank("serve", words)
    else:
        _refuse(words)


def _become_rank(name: str, words: list[str]) -> None:
    from mpidask.cli import ranks

    if words[:1] and words[0] in commands.HELP[:3]:
        from mpidask.cli import command_line

        _print_once(f"{command_line.read(ranks.COMMANDS[name][0](), words)}\n")
        sys.exit()  # without MPI
    sys.argv[1:] = words
    ranks.become_rank(ranks.parse_run if name == "run" else ranks.parse_serve)


def _refuse(words: list[str]) -> None:
    """Report a command that does not exist, with the one that may be meant, on one rank; exit."""
    import difflib

    from mpidask.errors import UsageError

    name = words[0]
    names = [*commands.modules(), "help", "version"]
    close = [commands.ELSEWHERE[name]] if name in commands.ELSEWHERE else difflib.get_close_matches(name, names, 1)
    if name.endswith((".py", ".ipynb")) or os.path.exists(name):
        remedy = f"to run a script: mpidask run {' '.join(words)}; as a batch job: mpidask submit {' '.join(words)}"
    elif close:
        remedy = f"did you mean {close[0]}? mpidask {' '.join([close[0], *words[1:]])}"
    else:
        remedy = "`mpidask help` lists the commands"
    what = "option" if name.startswith("-") else "command"
    _print_once(UsageError(f"unknown {what}: {name}", remedy).text(), sys.stderr)
    sys.exit(2)


def _print_once(text: str, stream: Any = None) -> None:
    """Print a text; under mpirun on rank 0 alone."""
    from mpidask.launch.watchdog.launcher_environment import launcher_rank

    if launcher_rank(os.environ) == 0:
        print(text, end="", file=stream or sys.stdout, flush=True)
