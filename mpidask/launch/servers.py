"""One scheduler, one rank's workers, as coroutines: the only copy."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import importlib
import importlib.util
import multiprocessing
import multiprocessing.forkserver
import os
import resource
import time
from collections.abc import Mapping, Sequence
from typing import Any

import dask.config
import distributed.utils
from distributed import Nanny, Scheduler, Status, Worker, rpc
from distributed.core import Server

from mpidask.errors import StartupError
from mpidask.launch import loudness, scheduler_file
from mpidask.launch.environment import TOKEN
from mpidask.launch.node import oom_kills
from mpidask.launch.postmortem import EXIT_TOPIC, Postmortem
from mpidask.launch.recorder import Recorder
from mpidask.launch.segments import semaphore_prefix
from mpidask.launch.shares import WorkerPlan
from mpidask.run_directory import Progress

__all__ = [
    "SchedulerPlan",
    "WorkersPlan",
    "close_all",
    "dashboard_address",
    "identify",
    "start_dashboard",
    "start_scheduler",
    "start_workers",
]

_BLAS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "BLIS_NUM_THREADS")
_QUIET_TRACKER = "ignore:resource_tracker:UserWarning"
_LONGEST_DIRECTORY = 70  # of at most 107 characters of a socket's path
_HTTP = "127.0.0.1:0"


@dataclasses.dataclass(frozen=True)
class SchedulerPlan:
    """How the scheduler is to listen.

    host:      IPv4 address
    port:      0 for a free one
    directory: where it keeps files
    file:      scheduler file to write, None for none
    run:       id of the run, for that file
    record:    directory and what to write there of the run's progress, None for nothing
    """

    host: str
    port: int
    protocol: str
    dashboard_address: str
    directory: str
    file: str | None
    run: str
    record: tuple[str, Progress] | None = None


@dataclasses.dataclass(frozen=True)
class WorkersPlan:
    """One rank's workers.

    host:      IPv4 address on which they listen
    directory: where they spill
    worker_options: further arguments of the worker class
    timeout:   s for them to start
    """

    workers: Sequence[WorkerPlan]
    scheduler: str
    host: str
    protocol: str
    directory: str
    nanny: bool
    worker_class: str
    worker_options: Mapping[str, Any]
    timeout: float


async def start_scheduler(plan: SchedulerPlan) -> Scheduler:
    """Return a scheduler that listens; its dashboard comes later, with `start_dashboard`. Raises StartupError."""
    raise_open_files()
    try:
        scheduler: Scheduler = await Scheduler(
            host=plan.host,
            port=plan.port,
            protocol=plan.protocol,
            dashboard=False,
            dashboard_address=plan.dashboard_address,
            local_directory=plan.directory,
            plugins=[Postmortem(), *([Recorder(*plan.record)] if plan.record is not None else [])],
        )
    except (OSError, RuntimeError) as error:  # Dask wraps the one in the other
        cause = error.__cause__ or error
        if plan.port == 0 or not (isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE):
            raise
        raise StartupError(
            f"port {plan.port} on {plan.host} is taken", "choose another with --scheduler-port, or leave it out"
        ) from error
    if plan.file is not None:
        scheduler_file.write(plan.file, scheduler.identity(), plan.run)
    return scheduler


async def identify(address: str, timeout: float) -> str:
    """Return the id of the scheduler at an address; raises OSError if it does not answer within so many seconds."""
    async with asyncio.timeout(timeout), rpc(address) as scheduler:  # type: ignore[no-untyped-call]  # Dask's
        return str((await scheduler.identity())["id"])


def dashboard_address(scheduler: Scheduler) -> str | None:
    """Return where the scheduler's dashboard is, None if there is none for want of bokeh."""
    if importlib.util.find_spec("bokeh") is None:
        return None
    server: Any = scheduler.http_server  # Dask adds address and port to tornado's
    return f"http://{server.address}:{server.port}/status"


async def start_dashboard(scheduler: Scheduler) -> None:
    """Add the dashboard's pages to a running scheduler.

    Importing bokeh takes longer than anything else at the start, so that nobody waits for it.
    """
    try:
        module = await asyncio.to_thread(importlib.import_module, "distributed.dashboard.scheduler")
    except ImportError:
        return
    module.connect(scheduler.http_application, scheduler.http_server, scheduler, prefix="")


class WatchedNanny(Nanny):
    """Dask's nanny, which also tells the scheduler how its worker's process ended."""

    _oom_kills = 0
    _asked = False

    async def instantiate(self) -> Status:
        """Start the worker's process; remember how often the kernel had run out of memory."""
        self._oom_kills, self._asked = oom_kills(), False
        return await super().instantiate()

    async def kill(self, timeout: float = 5, reason: str = "nanny-kill") -> None:
        """End the worker's process on somebody's wish, which is no death to report."""
        self._asked = True
        await super().kill(timeout=timeout, reason=reason)

    def _on_worker_exit_sync(self, exitcode: int) -> None:
        # The only place where Dask's nanny says how the process ended; pinned by the tests.
        if self.status == Status.running and not self._asked:
            message = {
                "worker": self.worker_address,
                "name": self.name,
                "host": os.uname().nodename,
                "exitcode": exitcode,
                "limit": self.memory_manager.memory_limit,
                "oom": oom_kills() > self._oom_kills,
            }
            self.log_event(EXIT_TOPIC, message)  # type: ignore[no-untyped-call]  # Dask's
        super()._on_worker_exit_sync(exitcode)  # type: ignore[no-untyped-call]  # Dask's


async def start_workers(plan: WorkersPlan) -> list[Server]:
    """Return the rank's workers when the scheduler knows them.

    Raises StartupError for a worker class that cannot be had or a worker that does not start.
    """
    raise_open_files()
    cls = worker_class(plan.worker_class)
    loudness.ignore_a_lost_scheduler()
    prepare_environment(plan, cls)
    servers = [_make(cls, plan, worker) for worker in plan.workers]
    try:
        with loudness.unlogged("distributed.nanny"):  # a failure is raised, and told once
            async with asyncio.timeout(plan.timeout):
                await asyncio.gather(*servers)
    except TimeoutError:
        raise StartupError(
            f"the workers did not start within {plan.timeout:g} s",
            "allow more time with --startup-timeout",
        ) from None
    return servers


def _make(cls: type[Server], plan: WorkersPlan, worker: WorkerPlan) -> Server:
    settings: dict[str, Any] = {
        "name": worker.name,
        "nthreads": worker.nthreads,
        "memory_limit": worker.memory,
        "local_directory": plan.directory,
        "host": plan.host,
        "protocol": plan.protocol,
        "dashboard": False,
        "dashboard_address": _HTTP,
        **plan.worker_options,
    }
    if issubclass(cls, Worker) and plan.nanny:
        cls, settings["worker_class"] = WatchedNanny, cls
    if issubclass(cls, Nanny):
        settings["env"] = {**({worker.gpu_variable: worker.gpu} if worker.gpu else {}), **(settings.get("env") or {})}
    return cls(plan.scheduler, **settings)


def worker_class(path: str) -> type[Server]:
    """Import a worker class, or a class of servers with workers such as a nanny; raises StartupError for others."""
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise StartupError(
            f"there is no worker class {path!r}: {error}",
            "give its import path with --worker-class, such as distributed.Worker",
        ) from error
    if not (isinstance(found, type) and issubclass(found, Server)) or issubclass(found, Scheduler):
        raise StartupError(f"{path} is not a worker class", "--worker-class needs a subclass of distributed.Worker")
    return WatchedNanny if found is Nanny else found


def prepare_environment(plan: WorkersPlan, cls: type[Server]) -> None:
    """Set what must be there before a worker's process starts, and start what workers are forked from."""
    process: Any = multiprocessing.current_process()
    if len(plan.directory) < _LONGEST_DIRECTORY:
        process._config["tempdir"] = plan.directory  # for multiprocessing's sockets: their paths must be short
    # So that whoever clears up after this rank knows the semaphores of its processes; there is no public way.
    process._config["semprefix"] = semaphore_prefix(os.environ.get(TOKEN, ""))
    blas = str(min((worker.blas_threads for worker in plan.workers), default=1))
    for name in _BLAS:
        os.environ.setdefault(name, blas)
    for name, value in dask.config.get("distributed.nanny.pre-spawn-environ").items():
        if value is not None:
            os.environ.setdefault(name, str(value))
    # Of a worker that was killed Python's resource tracker removes the semaphores, and says so at length.
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, (os.environ.get("PYTHONWARNINGS"), _QUIET_TRACKER)))
    if plan.nanny or not issubclass(cls, Worker):
        _start_fork_server()
    elif plan.workers and plan.workers[0].gpu is not None:
        os.environ[plan.workers[0].gpu_variable] = plan.workers[0].gpu


def _start_fork_server() -> None:
    """Start what workers are forked from: a process of its own, never this one, which MPI is up in."""
    dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"})
    # Dask would import numpy, pandas and more here, in the rank, to see whether to preload them.
    distributed.utils._forkserver_preload_set = True
    multiprocessing.set_forkserver_preload(["mpidask.launch.child"])
    multiprocessing.forkserver.ensure_running()


def raise_open_files() -> None:
    """Raise the soft limit on open files to the hard one: a scheduler needs several per worker."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def close_all(servers: Sequence[Server], scheduler: Scheduler | None, timeout: float) -> None:
    """Close workers, then the scheduler when no worker is left or the time is over; never raises.

    timeout: s for the workers; a task that still runs then is given up
    """
    loudness.quieten()
    closing = [asyncio.ensure_future(_close(server, timeout)) for server in servers]
    if closing:
        await asyncio.wait(closing, timeout=2.5 * timeout)
    if scheduler is not None:
        await _until_empty(scheduler, timeout)
        with contextlib.suppress(Exception):
            await asyncio.wait_for(scheduler.close(), timeout)


async def _close(server: Server, timeout: float) -> None:
    how: dict[str, Any] = {"timeout": timeout} if isinstance(server, Nanny | Worker) else {}
    if isinstance(server, Worker):
        how |= {"executor_wait": False, "nanny": False}
    with contextlib.suppress(Exception):
        await asyncio.wait_for(server.close(**how), 2 * timeout)


async def _until_empty(scheduler: Scheduler, timeout: float) -> None:
    deadline = time.monotonic() + 2 * timeout
    while scheduler.workers and time.monotonic() < deadline:  # noqa: ASYNC110 - Dask has no event for it
        await asyncio.sleep(0.01)
