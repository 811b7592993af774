"""What runs in the agent: it imports what servers and workers need, forks a fork server, serves.

The fork server is there before any thread is started.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import os
import pickle
import signal
import sys
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from mpidask.compat import dask_settings
from mpidask.compat.python import forked_servers
from mpidask.errors import LostError, StartupError, as_mpidask_error
from mpidask.files import memory_file
from mpidask.launch.imports import import_cache
from mpidask.launch.resources import staggering
from mpidask.launch.servers import log_filters, redirection, worker_environment
from mpidask.launch.servers.agent_messages import Duty, Finished, GivenUp, Started, WorkerUp
from mpidask.launch.servers.specs import RankSpec
from mpidask.launch.watchdog import OTHERS, mark, time_process
from mpidask.launch.watchdog.agent_process import MODULES, begin_anew
from mpidask.security.credentials import Contact

if TYPE_CHECKING:
    from mpidask.launch.servers.hosted import HostedServers

__all__ = ["READ_EARLY", "main"]

#: Parts of Dask's configuration that it reads while it is imported.
READ_EARLY = (
    "distributed.admin",
    "distributed.comm.offload",
    "distributed.comm.shard",
    "distributed.comm.websockets.shard",
    "distributed.diagnostics.cudf",
    "distributed.scheduler.default-data-size",
    "distributed.scheduler.default-task-durations",
    "distributed.scheduler.http.routes",
    "distributed.worker.multiprocessing-method",
    "logging-file-config",
)

#: Variables that matter to processes that come, not to what has been imported.
_FOR_OTHERS = ("PYTHONWARNINGS", MODULES)


def main(descriptor: int, *, early: bool, duty: int | None = None) -> None:
    """Be the agent: does not return, unless it cannot serve.

    descriptor: on which to talk with the rank
    early:      import Dask before the rank says what to do
    duty:       descriptor of a file with what the rank has said, for one that begins anew
    """
    os.set_inheritable(descriptor, False)
    connection = Connection(descriptor)
    time_process("agent")
    mark("start Python")
    if early:
        gc.disable()
        with contextlib.suppress(Exception), import_cache.active(None):  # what is wrong is told when it is needed
            worker_environment.import_dask()
        mark("import Dask")
    try:
        told: Duty = connection.recv() if duty is None else _kept(duty)
    except (EOFError, OSError):  # the rank is gone, or does not need it
        os._exit(0)
    fits = not early or _fits(told)
    os.environ.update({**told.environ, **told.libraries})
    mark("wait for its rank", OTHERS)
    time_process("agent")
    if not fits:
        for name in told.without:
            os.environ.pop(name, None)
        begin_anew(descriptor, _keep(told))
    _be_agent(told, connection)


def _keep(duty: Duty) -> int:
    """Write it to a file in memory; return the file's descriptor."""
    descriptor = memory_file("mpidask-duty")
    with open(descriptor, "wb", closefd=False) as file:
        pickle.dump(duty, file)
    return descriptor


def _kept(descriptor: int) -> Duty:
    """Read and close such a file."""
    with open(descriptor, "rb") as file:
        file.seek(0)
        duty: Duty = pickle.load(file)  # noqa: S301 - our own
    return duty


def _fits(duty: Duty) -> bool:
    """Whether what has been imported early is what would be imported now."""
    import dask.config

    if any(os.environ.get(name) != value for name, value in duty.libraries.items() if name not in _FOR_OTHERS):
        return False
    if any(name in os.environ for name in duty.without):
        return False
    keys = READ_EARLY if dask_settings.QUIET in duty.environ else (*READ_EARLY, "logging")
    return all(dask.config.get(key, None) == dask.config.get(key, None, config=duty.spec.config) for key in keys)


def _be_agent(duty: Duty, connection: Connection) -> None:
    spec = duty.spec
    duty.origin.take_over()
    gc.disable()
    try:
        _import(spec)
        _configure(spec)
        mark("import and configure")
        worker_environment.extend_path(spec.path)
        _dask().raise_open_files()
        stderr = sys.stderr
        if spec.log is not None:
            redirection.divert(spec.log, warns=spec.warns)
        if spec.workers is not None and spec.workers.nanny:
            gc.freeze()  # the collector would write to all that is shared
            with forked_servers():
                _dask().start_fork_server()
            mark("start the fork server")
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
        dask_settings.update(spec.config)  # some of it is for imports
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

    contact: the workers' scheduler, once it is known
    closed:  the rank has closed its end, or is gone
    """

    def __init__(self, connection: Connection, on_loss: Callable[[Sequence[str]], None]) -> None:
        """Begin to listen; on_loss: called with the names of workers that do not come back."""
        self._connection, self._loop, self._on_loss = connection, asyncio.get_running_loop(), on_loss
        self.contact: asyncio.Future[Contact] = self._loop.create_future()
        self.closed = asyncio.Event()
        self._loop.add_reader(connection.fileno(), self._receive)

    def _receive(self) -> None:
        try:
            news = self._connection.recv()
        except (EOFError, OSError):
            self._loop.remove_reader(self._connection.fileno())
            self.closed.set()
            return
        if isinstance(news, GivenUp):
            self._on_loss(news.names)
        else:
            self.contact.set_result(news)

    def tell(self, news: Any) -> None:
        """Tell the rank something; nothing happens if it is gone."""
        with contextlib.suppress(OSError):
            self._connection.send(news)


async def _serve_until_closed(spec: RankSpec, connection: Connection) -> None:
    """Serve until the rank closes its end; does not return."""
    from mpidask.launch.servers.hosted import HostedServers

    hosted = HostedServers(spec, lambda: os._exit(LostError.status))
    rank = _RankConnection(connection, hosted.give_up)
    serving = asyncio.ensure_future(_serve(spec, hosted, rank))
    await rank.closed.wait()
    mark("serve", OTHERS)
    serving.cancel()
    await hosted.close()
    mark("close servers")
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
            mark("start the scheduler")
            rank.tell(listening)
            contact = listening.contact
        if contact is not None:
            contact = contact if contact.address else await rank.contact
            mark("wait for the scheduler", OTHERS)
            await hosted.start_workers(contact, lambda up: rank.tell(WorkerUp(up)))
            mark("start workers", OTHERS)
            rank.tell(Started())
        rank.tell(Finished(await hosted.finished()))
    except asyncio.CancelledError:
        rank.tell(StartupError("a server's start was given up", "allow more time with --startup-timeout"))
        raise
    except Exception as error:  # noqa: BLE001 - reported by the rank, with its name
        rank.tell(as_mpidask_error(error))


def _dask() -> Any:
    """Return the module that knows Dask: a rank, which imports this one, does without."""
    return importlib.import_module("mpidask.launch.servers.server_start")
