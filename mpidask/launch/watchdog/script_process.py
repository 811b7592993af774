"""Starts the process that will run the script, before MPI comes up, so that its imports cost no time.

Imports nothing but the standard library's smallest modules: it runs on a rank before MPI_Init.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from mpidask.launch.watchdog.launcher_environment import launcher_name, launcher_rank, launcher_size, rank_identity

__all__ = ["ScriptProcess", "first_line", "interpreter_options", "is_likely"]

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

#: Descriptors below are what launchers leave open for ranks; shells give a command's substitutions those up to 63.
_OF_LAUNCHERS = 50
_CHANNEL = 100  # the first number that the process's own descriptor for what its rank says may have

_IMPORT = "from mpidask.launch.script import child"

_CLIENT_RANK = "--client-rank"
_WITH_VALUE = ("-W", "-X", "--check-hash-based-pycs")


def is_likely(environ: Mapping[str, str], words: Sequence[str]) -> bool:
    """Return whether this rank will run the script, as far as that is known before the ranks have met (pure).

    words: of the command line
    """
    wanted = environ.get("DASK_MPIDASK__CLIENT_RANK", "")
    for index, word in enumerate(words):
        if word.startswith(_CLIENT_RANK):
            wanted = word.partition("=")[2] or "".join(words[index + 1 : index + 2])
    rank = int(wanted) if wanted.isdigit() else min(1, launcher_size(environ) - 1)
    return launcher_rank(environ) == rank


def first_line(imports: str, runs: str) -> str:
    """Return what a Python process is to run with -c that imports something of mpidask (pure).

    The working directory is not looked at: a file there may be named like a module of Python's.
    """
    before = f"import sys; sys.flags.safe_path or sys.path.pop(0); own = {_ROOT!r} in sys.path"
    return f"{before} or sys.path.insert(0, {_ROOT!r}); {imports}; own or sys.path.remove({_ROOT!r}); {runs}"


def interpreter_options(words: Sequence[str]) -> list[str]:
    """Return the interpreter's own options of a command line such as sys.orig_argv (pure): -u, -O, -X dev, ..."""
    options: list[str] = []
    rest = iter(words[1:])
    for word in rest:
        if not word.startswith("-") or word == "-":
            break
        if word in _WITH_VALUE:
            options += [word, next(rest, "")]
        elif word.startswith("--") or "W" in word or "X" in word:
            options.append(word)
        elif "m" in word or "c" in word:  # -m, -um: what comes after it is the program's
            letters = word[1 : min(index for index in (word.find("m"), word.find("c")) if index > 0)]
            options += [f"-{letters}"] if letters else []
            break
        else:
            options.append(word)
    return options


class ScriptProcess:
    """The process, as its rank has it.

    pid:     of the process
    channel: descriptor on which to talk with it
    stdin:   descriptor of the other end of its standard input, None where it has the rank's own
    at_terminal: whether it is in the rank's process group, so that a terminal's signals reach both
    """

    def __init__(self, pid: int, channel: int, stdin: int | None, *, at_terminal: bool) -> None:
        self.pid, self.channel, self.stdin, self.at_terminal = pid, channel, stdin, at_terminal

    @classmethod
    def start_early(cls, words: Sequence[str]) -> ScriptProcess | None:
        """Start it before MPI comes up if this rank seems to be the one that will run the script; else return None.

        words: of the command line
        """
        return cls.start(launcher_rank(os.environ), os.environ) if words and is_likely(os.environ, words) else None

    @classmethod
    def start(cls, rank: int, environ: Mapping[str, str]) -> ScriptProcess:
        """Start it; it waits to be told what to run.

        rank:    rank 0 alone has the standard input of the launcher
        environ: its environment; what makes a process a rank is taken out
        """
        import socket

        leaked = _inheritable() if launcher_name(environ) else []
        ours, theirs = socket.socketpair()
        ends = os.pipe() if rank else None
        at_terminal = rank == 0 and os.isatty(0)
        channel = _free(_CHANNEL)
        actions: list[Any] = [(os.POSIX_SPAWN_DUP2, theirs.fileno(), channel)]
        if ends is not None:
            actions.append((os.POSIX_SPAWN_DUP2, ends[0], 0))
        # What the launcher has left open for its ranks is not for others.
        actions[:0] = [(os.POSIX_SPAWN_CLOSE, descriptor) for descriptor in leaked]
        identity = rank_identity(list(environ))
        words = [
            sys.executable,
            *interpreter_options(sys.orig_argv),
            "-c",
            first_line(_IMPORT, f"child.main({channel})"),
        ]
        options: Any = {} if at_terminal else {"setpgroup": 0}
        pid = os.posix_spawn(
            sys.executable,
            words,
            {name: value for name, value in environ.items() if name not in identity},
            file_actions=actions,
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
            **options,
        )
        theirs.close()
        if ends is not None:
            os.close(ends[0])
        return cls(pid, ours.detach(), None if ends is None else ends[1], at_terminal=at_terminal)

    def signal(self, number: int) -> None:
        """Send it a signal; nothing happens if it is gone."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def discard(self) -> None:
        """Have a process that was not needed end."""
        os.close(self.channel)
        if self.stdin is not None:
            os.close(self.stdin)


def _inheritable() -> list[int]:
    """Return the descriptors that a child process would get and that may be a launcher's."""
    found = []
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError):
            if 2 < descriptor < _OF_LAUNCHERS and os.get_inheritable(descriptor):
                found.append(descriptor)
    return found


def _free(number: int) -> int:
    """Return the first descriptor from this one up that is not open."""
    with contextlib.suppress(OSError):
        while True:
            os.fstat(number)
            number += 1
    return number
