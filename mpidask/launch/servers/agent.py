"""The agent: a process beside a rank that hosts its servers, and from which its workers are forked.

A rank imports no more than it needs to meet the others; Dask is imported once per node, here. The agent is a Python
process that `subprocess` starts, never a fork of the rank, which MPI is up in. It imports what all its servers and
workers need, forks a fork server before any thread is started, then serves. The script cannot disturb it: its rank may
hold the interpreter lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from mpidask.compat.python import forked_servers
from mpidask.errors import LostError, StartupError, as_mpidask_error
from mpidask.launch.comm.polling import Steps
from mpidask.launch.imports import import_cache
from mpidask.launch.resources import staggering
from mpidask.launch.servers import log_filters, redirection, worker_environment
from mpidask.launch.servers.specs import RankSpec
from mpidask.launch.watchdog.script_process import first_line, interpreter_options
from mpidask.security.credentials import Contact

if TYPE_CHECKING:
    from mpidask.launch.servers.hosted import HostedServers

__all__ = ["Agent", "main"]

_CLOSE = 1.5  # s for workers to close


@dataclasses.dataclass(frozen=True)
class Origin:
    """What of a rank's interpreter its servers and workers have, too.

    path, argv:   sys.path and sys.argv
    start_method: what multiprocessing starts processes by, None if the program has not chosen
    """

    path: Sequence[str]
    argv: Sequence[str]
    start_method: str | None

    def take_over(self) -> None:
        """Have it in this process, too."""
        sys.path[:] = [entry or os.getcwd() for entry in self.path]
        sys.argv[:] = self.argv
        if self.start_method is not None:
            multiprocessing.set_start_method(self.start_method, force=True)


@dataclasses.dataclass(frozen=True)
class WorkerUp:
    """A worker is up; rank: the one that it stands for."""

    rank: int


@dataclasses.dataclass(frozen=True)
class Started:
    """All servers are up."""


@dataclasses.dataclass(frozen=True)
class Finished:
    """The servers have ended by themselves; idle: for want of work."""

    idle: bool


class Agent:
    """The agent, as its rank sees it.

    dashboard: link to the scheduler's, once that is up; None if there is none
    up:        rank -> number of its workers that are up
    """

    def __init__(self, spec: RankSpec, environ: Mapping[str, str]) -> None:
        self._closing = False
        self._answer: Any = None  # the next one, once it is there
        self.dashboard: str | None = None
        self.up: Counter[int] = Counter()
        self._ours, theirs = multiprocessing.Pipe()
        line = first_line(f"from {__name__} import main", f"main({theirs.fileno()})")
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, *interpreter_options(sys.orig_argv), "-c", line],
                stdin=subprocess.DEVNULL,
                env={**os.environ, **environ},
                pass_fds=[theirs.fileno()],
                process_group=0,  # signals to the rank's group are the rank's; MPICH's mpirun kills all groups
            )
        self._ended = threading.Event()
        threading.Thread(target=self._await_end, name="mpidask agent's end", daemon=True).start()
        with contextlib.suppress(OSError):  # it is gone: `result` says so
            self._ours.send(Origin(sys.path, sys.argv, multiprocessing.get_start_method(allow_none=True)))
            self._ours.send(spec)

    def tell(self, contact: Contact) -> None:
        """Say where the workers' scheduler is."""
        with contextlib.suppress(OSError):  # it is gone: `result` says so
            self._ours.send(contact)

    def scheduler(self) -> Steps[Contact | BaseException]:
        """Wait for the scheduler, or the error that kept it from coming up; asked before `result`."""
        while not self.done():
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

    def finished(self) -> bool:
        """Whether the servers have ended for want of work; asked when `done` after the start."""
        answer = self._receive()
        return isinstance(answer, Finished) and answer.idle

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
        self._process.wait()
        self._ended.set()

    def watch(self, on_death: Callable[[int], None]) -> None:
        """Have a function called with the exit code, in a thread, should the agent end before it is closed."""

        def wait() -> None:
            self._ended.wait()
            if not self._closing:
                on_death(self._process.returncode)

        threading.Thread(target=wait, name="mpidask agent's watch", daemon=True).start()

    def close(self, timeout: float) -> None:
        """Have the servers closed, kill their process past the timeout (s)."""
        self._closing = True
        self._ours.close()
        if not self._ended.wait(timeout):
            self._process.kill()
            self._ended.wait(1)


def main(descriptor: int) -> None:
    """Be the agent: does not return, unless it cannot serve.

    descriptor: on which to talk with the rank
    """
    os.set_inheritable(descriptor, False)
    connection = Connection(descriptor)
    try:
        origin: Origin = connection.recv()
        origin.take_over()
        spec: RankSpec = connection.recv()
    except (EOFError, OSError):  # the rank is gone
        return
    _be_agent(spec, connection)


def _be_agent(spec: RankSpec, connection: Connection) -> None:
    gc.disable()
    try:
        _import(spec)
        _configure(spec)
        worker_environment.extend_path(spec.path)
        _dask().raise_open_files()
        stderr = sys.stderr
        if spec.log is not None:
            redirection.divert(spec.log, warns=spec.warns)
        if spec.workers is not None and spec.workers.nanny:
            gc.freeze()  # the collector would write to all that is shared
            with forked_servers():
                _dask().start_fork_server()
        gc.enable()
        log_filters.point(stderr, sys.stderr)  # what Dask's servers say goes where mpidask's words go
    except Exception as error:  # noqa: BLE001 - reported by the rank, with its name
        with contextlib.suppress(OSError):  # the rank is gone
            connection.send(as_mpidask_error(error))
        return
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # its rank decides
    asyncio.run(_serve_until_closed(spec, connection), debug=False)


def _import(spec: RankSpec) -> None:
    """Import what servers and workers need; raises StartupError for a module of the user's."""
    cache = import_cache.offered()
    with import_cache.active(cache):
        import dask.config

        dask.config.update(dask.config.config, spec.config, priority="new")  # some of it is for imports
        worker_environment.load()
    if cache is not None:
        cache.close()


def _configure(spec: RankSpec) -> None:
    import dask.config

    from mpidask.launch.servers.plugins.rank_share import run_on

    if spec.cores:
        run_on(spec.cores)
    # Each worker would try the locks of all others; the directory is the rank's own, and removed with it.
    dask.config.set({"distributed.worker.use-file-locking": False})
    directory = next((its.sockets for its in (spec.workers, spec.scheduler) if its is not None), "")
    worker_environment.name_files(directory, spec.prefix)
    staggering.configure(spec.turn)


class _RankConnection:
    """The agent's end of what it and its rank talk by.

    contact: the workers' scheduler
    closed:  the rank has closed its end, or is gone
    """

    def __init__(self, connection: Connection) -> None:
        self._connection, self._loop = connection, asyncio.get_running_loop()
        self.contact: asyncio.Future[Contact] = self._loop.create_future()
        self.closed = asyncio.Event()
        self._loop.add_reader(connection.fileno(), self._receive)

    def _receive(self) -> None:
        try:
            self.contact.set_result(self._connection.recv())
        except (EOFError, OSError):
            self._loop.remove_reader(self._connection.fileno())
            self.closed.set()

    def tell(self, news: Any) -> None:
        """Tell the rank something; nothing happens if it is gone."""
        with contextlib.suppress(OSError):
            self._connection.send(news)


async def _serve_until_closed(spec: RankSpec, connection: Connection) -> None:
    """Serve until the rank closes its end; does not return."""
    from mpidask.launch.servers.hosted import HostedServers

    rank = _RankConnection(connection)
    hosted = HostedServers(spec, lambda: os._exit(LostError.status))
    serving = asyncio.ensure_future(_serve(spec, hosted, rank))
    await rank.closed.wait()
    serving.cancel()
    await hosted.close()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(0)  # the interpreter's own end takes longer than all else; the rank removes what is left


async def _serve(spec: RankSpec, hosted: HostedServers, rank: _RankConnection) -> None:
    """Start all, tell the rank how it goes, and should they end by themselves."""
    try:
        contact = None if spec.workers is None else spec.workers.scheduler
        if spec.scheduler is not None:
            listening = await hosted.start_scheduler()
            rank.tell(listening)
            contact = listening.contact
        if contact is not None:
            contact = contact if contact.address else await rank.contact
            await hosted.start_workers(contact, lambda up: rank.tell(WorkerUp(up)))
            rank.tell(Started())
        await hosted.start_pages()
        rank.tell(Finished(await hosted.finished()))
    except asyncio.CancelledError:
        rank.tell(StartupError("a server's start was given up", "allow more time with --startup-timeout"))
        raise
    except Exception as error:  # noqa: BLE001 - reported by the rank, with its name
        rank.tell(as_mpidask_error(error))


def _dask() -> Any:
    """Return the module that knows Dask: a rank, which imports this one, does without."""
    return importlib.import_module("mpidask.launch.servers.server_start")
