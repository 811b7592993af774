"""Runs the commands of a batch system: the only module of `mpidask.batch` that starts a process."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mpidask.batch.system import Command
from mpidask.errors import BatchError

__all__ = ["Output", "alongside", "attend", "installed", "run"]

_attended: list[subprocess.Popen[bytes]] = []
_TIMEOUT = 120.0  # s; a busy batch system takes its time
_LEAVES = 5.0  # s for a command that was told to end


@dataclasses.dataclass(frozen=True)
class Output:
    """What a command did."""

    command: Command
    status: int
    stdout: str
    stderr: str

    @property
    def text(self) -> str:
        """The command, its exit status and output, for a message."""
        parts = [f"command: {shlex.join(self.command.argv)}", f"exit status: {self.status}"]
        for name, text in (("stdout", self.stdout), ("stderr", self.stderr)):
            parts += [f"{name}: {line}" for line in text.strip().splitlines()]
        return "\n".join(parts)


def installed(command: str) -> bool:
    """Whether the program of a command line is on PATH."""
    return shutil.which(shlex.split(command)[0]) is not None


def run(command: Command, timeout: float = _TIMEOUT, directory: str | None = None) -> Output:
    """Run a command to its end, in `directory` or here.

    Raises BatchError if it cannot be started or takes longer than `timeout` s.
    """
    try:
        done = subprocess.run(
            command.argv,
            input=command.stdin or "",
            capture_output=True,
            timeout=timeout,
            check=False,
            cwd=directory,
            encoding="utf-8",
            errors="replace",
            # Its words are read by a program; OAR takes the directory from PWD.
            env={**os.environ, "LC_ALL": "C", "PWD": directory or os.getcwd()},
        )
    except OSError as error:
        name = command.argv[0]
        raise BatchError(
            f"{name} cannot be run: {error.strerror}", f"see that {name} is on PATH; some sites need `module load`"
        ) from None
    except subprocess.TimeoutExpired:
        raise BatchError(
            f"no answer within {timeout:g} s to the command\n{shlex.join(command.argv)}",
            "the batch system is slow or down; try again later",
        ) from None
    return Output(command, done.returncode, done.stdout, done.stderr)


def attend(argv: Sequence[str]) -> int:
    """Start a command that outlives this process, in a session of its own; return a descriptor, its stdin.

    It reads the end of its stdin when this process has ended, however that was. Raises BatchError if it does not start.
    """
    reader, writer = os.pipe()
    try:
        process = subprocess.Popen(
            argv,
            stdin=reader,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd=Path(__file__).parents[2],  # from where mpidask can be imported
        )
    except OSError as error:
        os.close(writer)
        raise BatchError(f"{argv[0]} cannot be run: {error.strerror}") from None
    finally:
        os.close(reader)
    _attended[:] = [*(each for each in _attended if each.poll() is None), process]
    return writer


@contextlib.contextmanager
def alongside(argv: Sequence[str]) -> Iterator[Callable[[], int | None]]:
    """Run a command beside this process, on the same terminal, for as long as the block lasts.

    Yields what tells its exit status, None while it runs. Raises BatchError if it does not start.
    """
    try:
        process = subprocess.Popen(argv)
    except OSError as error:
        raise BatchError(f"{argv[0]} cannot be run: {error.strerror}", f"see that {argv[0]} is on PATH") from None
    try:
        yield process.poll
    finally:
        process.terminate()
        try:
            process.wait(_LEAVES)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
