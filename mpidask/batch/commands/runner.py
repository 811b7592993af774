"""Runs the commands of a batch system: the only module of `mpidask.batch` that starts a process."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from mpidask.batch.commands.command import Command
from mpidask.errors import BatchError, SilenceError, warning_text
from mpidask.status_line import PATIENCE, StatusLine

__all__ = ["Output", "alongside", "attend", "installed", "piped", "run", "warn_once"]

_attended: list[subprocess.Popen[bytes]] = []
_TIMEOUT = 60.0  # s; a busy batch system takes its time
_LEAVES = 5.0  # s for a command that was told to end
_PATIENCE = PATIENCE
_LINGERS = 3.0  # s that a command may go on after it has said all that is wanted of it
_GLANCE = 0.5  # s between two looks at what a command has printed

_told: set[str] = set()  # what was written on stderr, once for each process


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


def run(
    command: Command,
    timeout: float = _TIMEOUT,
    directory: str | None = None,
    enough: Callable[[str], bool] | None = None,
) -> Output:
    """Run a command to its end, in `directory` or here; after a while it is said once what is waited for.

    enough: whether what was printed so far is all that is wanted: a command that goes on then is ended, with status 0
    Raises BatchError if it cannot be started, SilenceError if it takes longer than `timeout` s.
    """
    line, environ = StatusLine(), _environment(command, directory, passed_on=enough is not None)
    try:
        process = subprocess.Popen(
            command.argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=directory,
            env=environ,
        )
    except OSError as error:
        name = command.argv[0]
        raise BatchError(
            f"{name} cannot be run: {error.strerror}", f"see that {name} is on PATH; some sites need `module load`"
        ) from None
    try:
        status, stdout, stderr = _heard(process, command, timeout, enough, line)
    except BaseException:
        _end(process)
        raise
    finally:
        line.clear()
    return Output(command, status, stdout, stderr)


def _environment(command: Command, directory: str | None, *, passed_on: bool) -> dict[str, str]:
    """Return the environment of a command, whose words are read by a program.

    passed_on: whether a job may get it: then only messages are the C locale's, and the rest stays the user's
    """
    kept = {name: value for name, value in os.environ.items() if not re.fullmatch(command.without or "", name)}
    locale = {"LC_ALL": "C"}
    if passed_on:
        locale = {"LC_MESSAGES": "C"}
        if everything := kept.pop("LC_ALL", ""):
            kept = {name: value for name, value in kept.items() if not name.startswith("LC_")}
            locale["LANG"] = everything
    place = _called(directory or "")
    return {**kept, **locale, **({"PWD": place} if place else {})}


def _called(directory: str) -> str:
    """Return a directory as the user's shell calls it if that is in it; the working directory for none, if it is there.

    PBS, Torque and OAR take the job's directory from PWD: by its other name it may not be there on a node.
    """
    said = os.environ.get("PWD", "")
    with contextlib.suppress(OSError):
        if os.path.isabs(said) and os.path.samefile(said, directory or "."):
            return said
        return directory or os.getcwd()
    return directory


def _heard(
    process: subprocess.Popen[bytes],
    command: Command,
    timeout: float,
    enough: Callable[[str], bool] | None,
    line: StatusLine,
) -> tuple[int, str, str]:
    """Return exit status and output of a process at its end, or when it has said enough."""
    begin = time.monotonic()
    said: float | None = None  # when it had said enough
    text: bytes | None = (command.stdin or "").encode(errors="surrogateescape")
    while True:
        try:
            stdout, stderr = process.communicate(text, timeout=_GLANCE)
            return process.returncode, stdout.decode(errors="replace"), stderr.decode(errors="replace")
        except subprocess.TimeoutExpired as so_far:
            stdout, stderr = so_far.output or b"", so_far.stderr or b""
        text = None  # it is on its way
        now = time.monotonic()
        printed = stdout.decode(errors="replace")
        if said is None and enough is not None and enough(printed):
            said = now
        if said is not None and now - said > _LINGERS:
            _end(process)
            return 0, printed, stderr.decode(errors="replace")
        if now - begin > _PATIENCE and said is None:
            waited_for = f"waiting for {os.path.basename(command.program)} ..."
            if line.is_live:
                line.show(waited_for)
            else:
                _tell_once(f"mpidask: {waited_for}\n", {waited_for})
        if now - begin > timeout:
            raise _silence(command, timeout, printed + stderr.decode(errors="replace"))


def warn_once(what: str, remedy: str = "", *, key: str, about: str = "") -> None:
    """Write a warning on stderr, unless this process has written it, or another one about the same, before.

    key: as of errors.warn
    """
    _tell_once(warning_text(what, remedy, key=key), {what, about or what})


def _tell_once(text: str, about: set[str]) -> None:
    if not about & _told:
        sys.stderr.write(text)
        sys.stderr.flush()
    _told.update(about)


def _silence(command: Command, timeout: float, printed: str) -> SilenceError:
    lines = [
        f"no answer within {timeout:g} s to the command",
        shlex.join(command.argv),
        *(f"printed: {line}" for line in printed.strip().splitlines()),
    ]
    return SilenceError(
        "\n".join(lines),
        "the batch system is slow or down: try again later, or name another one with --system "
        "(--system local runs the job on this machine)",
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and what it has started, without a word: some commands cancel their job when they are asked to."""
    for each in [process.pid, *_children(process.pid)]:  # a shell must not go on when its command ends
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)
    for pipe in (process.stdin, process.stdout, process.stderr):
        with contextlib.suppress(OSError):
            if pipe is not None:
                pipe.close()
    process.wait()


def _children(process: int) -> list[int]:
    """Return the children of a process and theirs, but for those that have a session of their own."""
    import psutil  # which most commands need not

    try:
        below = psutil.Process(process).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return [child.pid for child in below if _session(child.pid) == os.getsid(0)]


def _session(process: int) -> int | None:
    try:
        return os.getsid(process)
    except OSError:
        return None


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
            cwd=Path(__file__).parents[3],  # from where mpidask can be imported
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
    with _beside(argv) as process:
        yield process.poll


@contextlib.contextmanager
def piped(command: Command, *, quiet: bool = False) -> Iterator[tuple[IO[bytes], IO[bytes], Callable[[], int | None]]]:
    """Run a command beside this process, out of reach of Ctrl-C, for as long as the block lasts.

    quiet: leave out what it prints on stderr
    Yields what it prints, what it reads, and what tells its exit status. Raises BatchError if it does not start.
    """
    environ = _environment(command, None, passed_on=False)
    pipe, errors = subprocess.PIPE, subprocess.DEVNULL if quiet else None
    with _beside(command.argv, stdin=pipe, stdout=pipe, stderr=errors, env=environ, process_group=0) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield process.stdout, process.stdin, process.poll


@contextlib.contextmanager
def _beside(argv: Sequence[str], **how: Any) -> Iterator[subprocess.Popen[bytes]]:
    try:
        process = subprocess.Popen(argv, **how)
    except OSError as error:
        raise BatchError(f"{argv[0]} cannot be run: {error.strerror}", f"see that {argv[0]} is on PATH") from None
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_LEAVES)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
