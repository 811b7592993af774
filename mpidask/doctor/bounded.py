"""A process that measures for some probes, and is ended with all its children when its time is up."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mpidask.doctor.time_limit import ALARM
from mpidask.files import memory_file
from mpidask.launch.watchdog.launcher_environment import TOKEN
from mpidask.launch.watchdog.procfs import kill_marked

__all__ = ["BoundedProcess", "Measured", "measuring", "results", "words"]

_END = 1.0  # s for a process to end that was killed


@dataclasses.dataclass(frozen=True)
class Measured:
    """What came of a probe.

    facts:   None if it has measured nothing
    trouble: why
    silent:  whether it took too long
    """

    facts: Mapping[str, Any] | None
    trouble: str = ""
    silent: bool = False


def words(module: str, *arguments: str) -> list[str]:
    """Return the command line of a module of this room."""
    # Not -m alone: the working directory, which may hold files that are named like modules of Python's.
    code = f"import sys; '' in sys.path and sys.path.remove(''); from mpidask.doctor.{module} import main; main()"
    return [sys.executable, "-c", code, *arguments]


class BoundedProcess:
    """A process of its own, in a session of its own, whose children carry its mark.

    seconds: how long it may take
    own_session: whether it leaves this process's group; a process that talks to the MPI launcher stays
    """

    def __init__(self, command: Sequence[str], seconds: float, stdin: str = "", *, own_session: bool = True) -> None:
        self.seconds = seconds
        self._own_session = own_session
        self._token = uuid.uuid4().hex
        self._files = [memory_file(name) for name in ("stdin", "stdout", "stderr")]  # no disk: it may be full
        os.write(self._files[0], stdin.encode())
        os.lseek(self._files[0], 0, os.SEEK_SET)
        self._deadline = time.monotonic() + seconds
        environ = {**os.environ, TOKEN: self._token, ALARM: f"{seconds:g}"}
        read, out, errors = self._files
        # Not close_fds: an MPI library may have a channel to its launcher there.
        self._process = subprocess.Popen(  # noqa: S603 - our own modules
            command, stdin=read, stdout=out, stderr=errors, env=environ, start_new_session=own_session, close_fds=False
        )

    @property
    def has_ended(self) -> bool:
        """Whether it has ended, or its time is up."""
        return self._process.poll() is not None or time.monotonic() > self._deadline

    @property
    def ended_by_itself(self) -> bool:
        """Whether it has ended by itself."""
        return self._process.poll() is not None

    @property
    def printed(self) -> str:
        """What it has printed so far."""
        return _content(self._files[1])

    def wait(self) -> None:
        """Wait until it has ended or its time is up; Ctrl-C and the like end it."""
        try:
            while not self.has_ended:
                time.sleep(0.02)
        except BaseException:
            self._kill()
            raise

    def end(self) -> tuple[int | None, str, str]:
        """End it and all that it has started; return exit status (None if its time was up), stdout and stderr."""
        status = self._process.poll()
        self._kill()
        output = [_content(file) for file in self._files[1:]]
        for file in self._files:
            os.close(file)
        return status, output[0], output[1]

    def _kill(self) -> None:
        """Kill it and what it has started; a process in the middle of a hanging file system does not end."""
        kill_marked(self._token, trackers=True)
        if self._process.returncode is None:  # else another process may have its number
            self._process.kill()
            if self._own_session:  # of its children those, too, that do not carry its mark
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_END)


def _content(file: int) -> str:
    return os.pread(file, os.fstat(file).st_size, 0).decode(errors="replace")


def measuring(names: Sequence[str], root: Path, seconds: float) -> BoundedProcess:
    """Start to measure for these probes."""
    return BoundedProcess(words("measuring", str(root), *names), seconds)


def results(process: BoundedProcess, names: Sequence[str]) -> dict[str, Measured]:
    """End a process that measures; return name -> what came of it (what it has printed until then counts)."""
    status, printed, errors = process.end()
    found = {name: Measured(**said) for name, said in map(json.loads, filter(_is_whole, printed.splitlines()))}
    if status is None:
        missing = Measured(None, f"no answer within {process.seconds:.3g} s", silent=True)
    else:
        last = (errors.strip().splitlines() or [""])[-1]
        missing = Measured(None, f"measuring ended with status {status}: {last}".removesuffix(": "))
    return {name: found.get(name, missing) for name in names}


def _is_whole(line: str) -> bool:
    return line.startswith("[") and line.endswith("]")
