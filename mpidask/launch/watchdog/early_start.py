"""Starts processes that import Dask: before MPI comes up, so that imports cost no time, or later.

Imports nothing but the standard library's smallest modules: it runs on a rank before MPI_Init.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from mpidask.launch.watchdog.launcher_environment import launcher_name, local_size, rank_identity

__all__ = ["OwnProcess", "begin_anew", "first_line", "interpreter_options", "is_crowded", "start"]

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

#: Descriptors below are what launchers leave open for ranks; shells give a command's substitutions those up to 63.
_OF_LAUNCHERS = 50
_CHANNEL = 100  # the first number that the process's own descriptor for what its rank says may have

_CROWDED = 2  # ranks per core

_WITH_VALUE = ("-W", "-X", "--check-hash-based-pycs")


def first_line(imports: str, runs: str) -> str:
    """Return what a Python process is to run with -c that imports something of mpidask (pure).

    The working directory is not looked at: a file there may be named like a module of Python's.
    """
    before = f"import sys; sys.flags.safe_path or sys.path.pop(0); own = {_ROOT!r} in sys.path"
    return f"{before} or sys.path.insert(0, {_ROOT!r}); {imports}; own or sys.path.remove({_ROOT!r}); {runs}"


def is_crowded(environ: Mapping[str, str]) -> bool:
    """Whether this node has so many ranks that MPI, coming up, needs all there is (pure).

    Ranks that wait in MPI_Init take the cores in turns with those that are late: whatever makes one rank later than the
    others, such as a process beside it that imports, costs all of them.
    """
    return (local_size(environ) or 1) > _CROWDED * os.sysconf("SC_NPROCESSORS_ONLN")


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


class OwnProcess:
    """A process that a rank has started, as the rank has it.

    pid:     of the process
    channel: descriptor on which to talk with it; it ends when this is closed
    """

    def __init__(self, pid: int, channel: int) -> None:
        self.pid, self.channel = pid, channel

    def signal(self, number: int) -> None:
        """Send it a signal; nothing happens if it is gone."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self) -> int:
        """Wait for its end; return its exit code, that of a lost process if somebody else has waited for it."""
        try:
            return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        except ChildProcessError:
            return os.EX_SOFTWARE

    def discard(self) -> None:
        """End a process that was not needed."""
        self.signal(signal.SIGKILL)
        os.close(self.channel)


def start(
    imports: str,
    runs: str,
    environ: Mapping[str, str],
    *,
    stdin: int | str | None = None,
    at_terminal: bool = False,
    keeps_files: bool = False,
) -> tuple[int, int]:
    """Start a Python process; return its id, and the descriptor on which to talk with it.

    imports, runs: what it is to import and to call; {channel} in it is its own descriptor
    environ:       its environment; what makes a process a rank is taken out
    stdin:         descriptor or path of its standard input; None for the rank's
    at_terminal:   it stays in the rank's process group, so that a terminal's signals reach both
    keeps_files:   it gets the files that a shell has opened for the rank: `<(command)`
    """
    import socket

    ours, theirs = socket.socketpair()
    channel = _free(_CHANNEL)
    actions: list[Any] = [
        *((os.POSIX_SPAWN_CLOSE, descriptor) for descriptor in _inheritable(environ, keeps_files=keeps_files)),
        (os.POSIX_SPAWN_DUP2, theirs.fileno(), channel),
    ]
    if isinstance(stdin, int):
        actions.append((os.POSIX_SPAWN_DUP2, stdin, 0))
    elif stdin is not None:
        actions.append((os.POSIX_SPAWN_OPEN, 0, stdin, os.O_RDONLY, 0))
    identity = rank_identity(list(environ))
    group: Any = {} if at_terminal else {"setpgroup": 0}  # MPICH's mpirun kills all groups
    pid = os.posix_spawn(
        sys.executable,
        _words(imports, runs, channel),
        {name: value for name, value in environ.items() if name not in identity},
        file_actions=actions,
        setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
        **group,
    )
    theirs.close()
    return pid, ours.detach()


def begin_anew(imports: str, runs: str, channel: int) -> NoReturn:
    """Have this process, one that `start` has started, begin anew; its descriptor has to be inheritable."""
    os.execv(sys.executable, _words(imports, runs, channel))  # noqa: S606 - ourselves


def _words(imports: str, runs: str, channel: int) -> list[str]:
    line = first_line(imports, runs.format(channel=channel))
    return [sys.executable, *interpreter_options(sys.orig_argv), "-c", line]


def _inheritable(environ: Mapping[str, str], *, keeps_files: bool) -> list[int]:
    """Return the descriptors that a child process would get, and is not to have: those of launchers and of MPI."""
    if keeps_files and not launcher_name(environ):
        return []
    found = []
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError):
            theirs = descriptor < _OF_LAUNCHERS or not keeps_files
            if descriptor > 2 and theirs and os.get_inheritable(descriptor):
                found.append(descriptor)
    return found


def _free(number: int) -> int:
    """Return the first descriptor from this one up that is not open."""
    with contextlib.suppress(OSError):
        while True:
            os.fstat(number)
            number += 1
    return number
