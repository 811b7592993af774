"""A watcher beside every rank, so that nothing of a run outlives it.

It is forked before MPI is up (a fork of an MPI process is unsafe; where a script calls us MPI may be up already, and
the watchdog is exec'ed), in a session of its own, and sleeps. It acts when the rank cannot: before MPI is up, when
another rank of the node has ended and MPI_Init would wait for it for ever; when the launcher was killed and left the
rank behind; when the rank is stopped, holds the interpreter lock or is stuck past its deadline. When the rank is gone
without a farewell it kills what the rank has started (found by a mark in the environment) and removes what it has
written.

Imports nothing but the standard library's smallest modules: it runs on every rank before MPI_Init.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys

from mpidask.launch.watchdog.launcher_environment import TOKEN
from mpidask.launch.watchdog.procfs import name_process
from mpidask.launch.watchdog.watch import Watch, run_watchdog

__all__ = ["Watchdog"]

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


def _mend() -> None:
    """Mend what a launcher may have left: descriptors that a pipe would get, children for which nobody can wait."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest that is free: this one
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115 - as Python's own
    if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:  # each waitpid would fail, and statuses be lost
        with contextlib.suppress(ValueError):  # of a program that calls us from another thread
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)


class Watchdog:
    """The rank's end of the pipe to its watchdog."""

    def __init__(self, pipe: int, token: str) -> None:
        self._pipe: int | None = pipe
        self.token = token

    @classmethod
    def start(cls) -> Watchdog:
        """Fork the watchdog; call it before MPI_Init and before any thread is started."""
        _mend()
        token = os.urandom(8).hex()
        rank, parent = os.getpid(), os.getppid()
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                name_process()
                if os.fork() == 0:  # not the rank's child: `os.wait()` in a script must not find it
                    run_watchdog(Watch(rank, parent, token), read_end)
            finally:  # never run on as a second rank
                os._exit(0)
        os.waitpid(child, 0)
        os.close(read_end)
        os.environ[TOKEN] = token
        return cls(write_end, token)

    @classmethod
    def start_apart(cls) -> Watchdog:
        """Start a watchdog at any time: MPI may be up, threads may run; what the rank starts is not marked yet."""
        import subprocess

        _mend()
        token = os.urandom(8).hex()
        read_end, write_end = os.pipe()
        program = f"import sys; sys.path.insert(0, {_ROOT!r}); from mpidask.launch.watchdog.watch import main; main()"
        words = [sys.executable, "-P", "-s", "-S", "-c", program]
        words += [str(os.getpid()), str(os.getppid()), token, str(read_end)]
        theirs = {name for name in os.environ if name.startswith("PYTHON")} - {"PYTHONHOME"}  # as with -I
        environ = {name: value for name, value in os.environ.items() if name not in {TOKEN, *theirs}}
        subprocess.run(  # noqa: S603 - ourselves
            words, pass_fds=(read_end,), env=environ, stdin=subprocess.DEVNULL, check=True
        )
        os.close(read_end)
        return cls(write_end, token)

    def tell(self, word: str, value: str = "") -> None:
        """Send one line; a watchdog that is gone is no reason to fail."""
        if self._pipe is None:
            return
        with contextlib.suppress(OSError):
            os.write(self._pipe, f"{word} {value}\n".encode(errors="surrogateescape"))

    def mpi_is_up(self, who: str, *, vital: bool) -> None:
        """Say that MPI is up, how to call this rank, and whether the run can do without it, lost or stopped."""
        self.tell("up", f"{int(vital)} {who}")

    def scheduler_is_in(self, pid: int) -> None:
        """Say which process beside this rank has the run's scheduler: the run cannot do without it, should it stop."""
        self.tell("scheduler", str(pid))

    def is_needed(self) -> None:
        """Say that the run cannot do without what this rank hosts, should it be lost."""
        self.tell("needed", "")

    def remove_later(self, path: str) -> None:
        """Have a directory or a shared-memory file removed should the rank die."""
        if "\n" not in path:  # else a part of it would be
            self.tell("path", path)

    def remove_if_holding(self, text: str, path: str) -> None:
        """Have a file removed, should the rank die, if it holds that text: others may have written it anew."""
        if "\n" not in path:
            self.tell("file", f"{text} {path}")

    def write_timeline(self, what: str) -> None:
        """Have a timeline (run and file) written, should the rank die: without the rank's own farewell."""
        self.tell("timeline", what)

    def end_within(self, seconds: float) -> None:
        """Have the rank killed if it is still there after that many seconds."""
        self.tell("end", str(seconds))

    def farewell(self) -> None:
        """Say that the rank has cleaned up by itself and is about to end."""
        self.tell("bye")

    def dismiss(self) -> None:
        """Send the watchdog away: the rank has cleaned up by itself and goes on without us."""
        self.tell("dismissed")
        if self._pipe is not None:
            os.close(self._pipe)
        self._pipe = None  # the program may get a descriptor of the same number
