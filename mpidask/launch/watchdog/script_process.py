"""The script's process: started before MPI comes up, by the rank that seems to be the script's.

Imports nothing but the standard library's smallest modules: it runs on a rank before MPI_Init.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from mpidask.launch.watchdog import early_start
from mpidask.launch.watchdog.launcher_environment import launcher_rank, launcher_size

__all__ = ["ScriptProcess", "client_rank", "option_value", "setting"]


def setting(option: str) -> str:
    """Return the variable of Dask's configuration that stands for an option of the command line (pure)."""
    return f"DASK_MPIDASK__{option.removeprefix('no-').replace('-', '_').upper()}"


def option_value(environ: Mapping[str, str], words: Sequence[str], option: str) -> str:
    """Return the value of an option, typed or set by the environment; "" for none (pure).

    words: of the command line
    """
    value = environ.get(setting(option), "")
    for index, word in enumerate(words):
        name, equals, text = word.partition("=")
        if name == f"--{option}":
            value = text if equals else "".join(words[index + 1 : index + 2])
    return value


def client_rank(environ: Mapping[str, str], words: Sequence[str]) -> int:
    """Return the rank that will run the script, as far as that is known before the ranks have met (pure).

    words: of the command line
    """
    wanted = option_value(environ, words, "client-rank")
    return int(wanted) if wanted.isdigit() else min(1, launcher_size(environ) - 1)


class ScriptProcess(early_start.OwnProcess):
    """The process, as its rank has it.

    stdin:   descriptor of the other end of its standard input, None where it has the rank's own
    at_terminal: whether it is in the rank's process group, so that a terminal's signals reach both
    """

    def __init__(self, pid: int, channel: int, stdin: int | None, *, at_terminal: bool) -> None:
        super().__init__(pid, channel)
        self.stdin, self.at_terminal = stdin, at_terminal

    @classmethod
    def start_early(cls, environ: Mapping[str, str], words: Sequence[str]) -> ScriptProcess | None:
        """Start it before the ranks have met if this one seems to be the script's; else return None.

        environ: of the rank, before MPI came up
        words:   of the command line
        """
        rank = launcher_rank(environ)
        return cls.start(rank, environ) if client_rank(environ, words) == rank else None

    @classmethod
    def start(cls, rank: int, environ: Mapping[str, str]) -> ScriptProcess:
        """Start it; it waits to be told what to run.

        rank:    rank 0 alone has the standard input of the launcher
        environ: its environment; what makes a process a rank is taken out
        """
        theirs, ours = os.pipe() if rank else (None, None)
        at_terminal = rank == 0 and os.isatty(0)
        pid, channel = early_start.start(
            "from mpidask.launch.script import child",
            "child.main({channel})",
            environ,
            stdin=theirs,
            at_terminal=at_terminal,
            keeps_files=True,
        )
        if theirs is not None:
            os.close(theirs)
        return cls(pid, channel, ours, at_terminal=at_terminal)

    def discard(self) -> None:
        """Have a process that was not needed end."""
        super().discard()
        if self.stdin is not None:
            os.close(self.stdin)
