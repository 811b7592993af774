"""The rank's side of the agent: a process that hosts servers, and from which workers are forked.

A rank imports no more than it needs to meet the others; Dask is imported once per node, in the agent. That is a Python
process of its own, never a fork of the rank, which MPI is up in. The script cannot disturb it: its rank may hold the
interpreter lock.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any

from mpidask.errors import StartupError
from mpidask.launch.comm.polling import Steps
from mpidask.launch.servers.agent_messages import Duty, Finished, GivenUp, Origin, WorkerUp
from mpidask.launch.servers.specs import RankSpec
from mpidask.launch.watchdog.agent_process import TRACKED, AgentProcess
from mpidask.security.credentials import Contact

__all__ = ["Agent"]


class Agent:
    """The agent, as its rank sees it.

    dashboard: link to the scheduler's, once that is up; None if there is none
    up:        rank -> number of its workers that are up
    """

    def __init__(
        self,
        spec: RankSpec,
        environ: Mapping[str, str],
        libraries: Mapping[str, str],
        process: AgentProcess | None = None,
    ) -> None:
        """Have it serve.

        environ, libraries: as in `Duty`
        process: one that was started early and waits
        """
        self._closing = False
        self._answer: Any = None  # the next one, once it is there
        self.dashboard: str | None = None
        self.up: Counter[int] = Counter()
        process = process or AgentProcess.start({**os.environ, **environ, **libraries})
        self._process, self._status = process, 0
        self._ours = Connection(process.channel)
        self._ended = threading.Event()
        threading.Thread(target=self._await_end, name="mpidask agent's end", daemon=True).start()
        origin = Origin(sys.path, sys.argv, multiprocessing.get_start_method(allow_none=True))
        without = [name for name in TRACKED if name not in libraries and name not in os.environ]
        self._say(Duty(origin, spec, environ, libraries, without))

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def _say(self, message: object) -> None:
        with contextlib.suppress(OSError):  # it is gone: `result` says so
            self._ours.send(message)

    def tell(self, news: Contact | GivenUp) -> None:
        """Say where the workers' scheduler is, or which workers do not come back."""
        self._say(news)

    def scheduler(self, timeout: float) -> Steps[Contact | BaseException]:
        """Wait so many s for the scheduler, or the error that kept it from coming up; asked before `result`."""
        deadline = time.monotonic() + timeout
        while not self.done():
            if time.monotonic() > deadline:
                return StartupError(
                    f"the scheduler did not start within {timeout:g} s", "allow more time with --startup-timeout"
                )
            yield False
        answer = self._receive()
        if isinstance(answer, BaseException):
            return answer
        self.dashboard = answer.dashboard
        return answer.contact  # type: ignore[no-any-return]  # of Listening

    def done(self) -> bool:
        """Whether the next answer is there: it is up, has ended, or will not come up."""
        while self._answer is None and self._ours.poll():
            self._take()
        return self._answer is not None or self._ended.is_set()

    def result(self) -> dict[int, int] | BaseException:
        """Return rank -> number of its workers, once they are up, or the error that kept them from coming up."""
        answer = self._receive()
        return answer if isinstance(answer, BaseException) else dict(self.up)

    def ended(self) -> Finished | None:
        """Return how the servers have ended by themselves, None if the process was lost; asked when `done` once up."""
        answer = self._receive()
        return answer if isinstance(answer, Finished) else None

    def fileno(self) -> int:
        """Return the descriptor at which it can be heard that the agent has said something or is gone."""
        return self._ours.fileno()

    def _receive(self) -> Any:
        while self._answer is None:
            self._take()
        answer, self._answer = self._answer, None
        return answer

    def _take(self) -> None:
        """Take the next message: an answer, or word of a worker."""
        try:
            message = self._ours.recv()
        except (EOFError, OSError):
            message = StartupError("the process with the servers ended", "see its message above")
        if isinstance(message, WorkerUp):
            self.up[message.rank] += 1
        else:
            self._answer = message

    def _await_end(self) -> None:
        try:
            self._status = self._process.wait()
        finally:
            self._ended.set()

    def watch(self, on_death: Callable[[int], None]) -> None:
        """Have a function called with the exit code, in a thread, should the agent end before it is closed."""

        def wait() -> None:
            self._ended.wait()
            if not self._closing:
                on_death(self._status)

        threading.Thread(target=wait, name="mpidask agent's watch", daemon=True).start()

    def close(self, timeout: float) -> None:
        """Have the servers closed, kill their process past the timeout (s)."""
        self._closing = True
        self._ours.close()
        if not self._ended.wait(timeout):
            self._process.signal(signal.SIGKILL)
            self._ended.wait(1)
