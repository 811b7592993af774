"""Runs the commands of a batch system: the only module of `mpidask.batch` that starts a process."""

from __future__ import annotations

import dataclasses
import os
import shlex
import shutil
import subprocess

from mpidask.batch.system import Command
from mpidask.errors import BatchError

__all__ = ["Output", "installed", "run"]

_TIMEOUT = 120.0  # s; a busy batch system takes its time


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
