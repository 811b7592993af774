"""The agent: a process beside a rank that hosts its servers, and from which its workers are forked.

A rank imports no more than it needs to meet the others; Dask is imported once per rank, here. The agent is exec'ed,
never forked from the rank, which MPI is up in. It imports what all its servers and workers need, forks a fork server
before any thread is started, then serves. The script cannot disturb it: its rank may hold the interpreter lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import importlib
import multiprocessing
import multiprocessing.connection
import multiprocessing.util
import os
import signal
import stat
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from mpidask.errors import LostError, StartupError, as_mpidask_error
from mpidask.launch.comm.polling import Steps
from mpidask.launch.imports import import_cache
from mpidask.launch.resources import staggering
from mpidask.launch.script.interpreter_end import hidden_main
from mpidask.launch.servers import log_filters, redirection, worker_environment
from mpidask.launch.servers.specs import RankSpec
from mpidask.security.credentials import Contact

if TYPE_CHECKING:
    from mpidask.launch.servers.hosted import HostedServers

__all__ = ["Agent"]

_CLOSE = 1.5  # s for workers to close
_exec = multiprocessing.util.spawnv_passfds


@dataclasses.dataclass(frozen=True)
class Started:
    """All servers are up; workers: their number."""

    workers: int


@dataclasses.dataclass(frozen=True)
class Finished:
    """The servers have ended by themselves; idle: for want of work."""

    idle: bool


class Agent:
    """The agent, as its rank sees it.

    dashboard: link to the scheduler's, once that is up; None if there is none
    """

    def __init__(self, spec: RankSpec, environ: Mapping[str, str]) -> None:
        context = multiprocessing.get_context("spawn")  # exec: never the fork of an MPI process
        self._closing = False
        self.dashboard: str | None = None
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_be_agent, args=(spec, theirs), name="mpidask agent")
        with hidden_main(), _environment(environ):
            with _starting_with(_apart):
                resource_tracker.ensure_running()  # which the agent shares
            self._process.start()
        theirs.close()

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
        return self._ours.poll() or not self._process.is_alive()

    def result(self) -> int | BaseException:
        """Return the number of workers, once they are up, or the error that kept them from coming up."""
        answer = self._receive()
        return answer if isinstance(answer, BaseException) else answer.workers

    def finished(self) -> bool:
        """Whether the servers have ended for want of work; asked when `done` after the start."""
        answer = self._receive()
        return isinstance(answer, Finished) and answer.idle

    def _receive(self) -> Any:
        try:
            return self._ours.recv()
        except (EOFError, OSError):
            return StartupError("the process with the servers ended", "see its message above")

    def watch(self, on_death: Callable[[int], None]) -> None:
        """Have a function called with the exit code, in a thread, should the agent end before it is closed."""

        def wait() -> None:
            multiprocessing.connection.wait([self._process.sentinel])
            if not self._closing:
                on_death(self._process.exitcode or 0)

        threading.Thread(target=wait, name="mpidask agent's watch", daemon=True).start()

    def close(self, timeout: float) -> None:
        """Have the servers closed, kill their process past the timeout (s)."""
        self._closing = True
        self._ours.close()
        self._process.join(timeout)
        if self._process.is_alive():
            self._process.kill()
            self._process.join(1)


@contextlib.contextmanager
def _starting_with(start: Callable[[bytes, list[Any], list[int]], int]) -> Iterator[None]:
    """Have multiprocessing start the processes of its own by this function meanwhile."""
    module: Any = multiprocessing.util
    before, module.spawnv_passfds = module.spawnv_passfds, start
    try:
        yield
    finally:
        module.spawnv_passfds = before


def _apart(path: bytes, words: list[Any], descriptors: list[int]) -> int:
    """Start the tracker of semaphores in a process group of its own.

    MPICH's mpirun kills the groups of all ranks when one has died; the agent would start another, that knows nothing.
    """
    code = f"import os; os.setpgid(0, 0); {words[-1]}"
    return _exec(path, [*words[:-1], code], descriptors)


@contextlib.contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Have these variables set meanwhile."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _be_agent(spec: RankSpec, connection: Connection) -> None:
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)  # signals to the rank's group are the rank's
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
            _fork_server()
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

    # Each worker would try the locks of all others; the directory is the rank's own, and removed with it.
    dask.config.set({"distributed.worker.use-file-locking": False})
    directory = next((its.sockets for its in (spec.workers, spec.scheduler) if its is not None), "")
    worker_environment.name_files(directory, spec.prefix)
    staggering.configure(spec.turn)


def _fork_server() -> None:
    """Start the fork server of multiprocessing as a fork of this process, which has imported what it would import.

    Should it die, multiprocessing starts another one, as it always does.
    """
    with _starting_with(_fork):
        _dask().start_fork_server()


def _fork(path: bytes, words: list[Any], descriptors: list[int]) -> int:
    """Do in a fork of this process what `python -c CODE` would do, with these connections alone; return its id."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        for descriptor in map(int, os.listdir("/proc/self/fd")):
            if descriptor > 2 and descriptor not in descriptors and _is_connection(descriptor):
                os.close(descriptor)
        exec(words[words.index("-c") + 1], {})  # noqa: S102 - the line of multiprocessing's own
        status = 0
    finally:
        os._exit(status)


def _is_connection(descriptor: int) -> bool:
    """Whether a descriptor leads to another process, which would wait for its end; files may be a module's own."""
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:  # that of the directory with the descriptors
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


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
            rank.tell(Started(await hosted.start_workers(contact)))
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
