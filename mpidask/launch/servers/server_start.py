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
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import dask.config
from distributed import Nanny, Scheduler, Worker, rpc
from distributed.core import Server
from distributed.security import Security

from mpidask.compat import dask as compat
from mpidask.compat import lost_connections, servers
from mpidask.dashboard import access, routes
from mpidask.dashboard.measured import SelfReport
from mpidask.errors import StartupError, as_mpidask_error, warn
from mpidask.launch.resources import staggering
from mpidask.launch.resources.division import WorkerSpec
from mpidask.launch.servers import gpu_workers, idle, imported, log_filters, port_choice, worker_environment
from mpidask.launch.servers.plugins import idle_clock, registration
from mpidask.launch.servers.plugins.progress import ProgressWriter
from mpidask.launch.servers.plugins.rank_share import TakeShare
from mpidask.launch.servers.plugins.ranks_page import RanksPlugin
from mpidask.launch.servers.plugins.timing import scheduler_marks, worker_environ, worker_marks
from mpidask.launch.servers.plugins.worker_exits import Postmortem, WatchedNanny
from mpidask.launch.servers.specs import RankShare, SchedulerSpec, WorkerGroupSpec
from mpidask.launch.watchdog import NOTE, mark
from mpidask.launch.watchdog.agent_process import variables
from mpidask.launch.watchdog.launcher_environment import TOKEN
from mpidask.launch.watchdog.shared_memory import semaphore_prefix
from mpidask.report.measures import WorkerMeasures
from mpidask.security import scheduler_file, tls_sockets
from mpidask.security.credentials import Contact, answer_clients, security_of

__all__ = [
    "contact",
    "dashboard_link",
    "identify",
    "idled_out",
    "start_fork_server",
    "start_scheduler",
    "start_workers",
]

_HTTP = "127.0.0.1:0"
_OPEN_FILES = 1 << 20  # at most: programs that tasks start may close each number up to the limit


async def start_scheduler(spec: SchedulerSpec, on_hopeless: Callable[[], None] = lambda: None) -> Scheduler:
    """Return a scheduler that listens. Raises StartupError.

    on_hopeless: called when all workers have been given up
    """
    spec = port_choice.settled(spec)
    _, limit = raise_open_files()
    gpu_workers.prepare(spec.environ)
    workers = sum(len(rank.workers) for rank in spec.ranks)
    shortage = staggering.shortage(workers, limit)
    if shortage is not None:
        warn(shortage, key="open-files")
    _prepare_for_a_scheduler()
    addresses = [(spec.host, spec.port), *([spec.clients] if spec.clients is not None else [])]
    postmortem = Postmortem(workers, on_hopeless)
    plugins = [registration.Registration(), idle_clock.IdleClock(workers if spec.wanted is None else spec.wanted)]
    try:
        made = Scheduler(
            host=[host for host, _ in addresses],  # type: ignore[arg-type]  # Dask takes lists, but does not say so
            port=[port for _, port in addresses],  # type: ignore[arg-type]
            protocol=spec.protocol,
            security=spec.keys.security() if spec.keys is not None else None,
            dashboard=False,
            dashboard_address=spec.dashboard_address,
            http_prefix=spec.token or "/",
            idle_timeout=spec.idle,
            local_directory=spec.directory,
            plugins=[*plugins, postmortem, RanksPlugin(spec.ranks, postmortem), *scheduler_marks()],
        )
        if spec.idle == 0:
            made.idle_timeout = None
        routes.add(made, spec.token, on_demand=_has_dashboard(spec))
        if spec.token:
            access.close(made, spec.token)
        scheduler: Scheduler = await made
    except (OSError, RuntimeError) as error:  # Dask wraps the one in the other
        taken = _taken(addresses, error)
        if taken is None:
            raise
        raise taken from error
    lost_connections.forgive_a_stop(scheduler)
    idle.rest_scheduler(scheduler)
    await _announce(scheduler, spec)
    return scheduler


def _prepare_for_a_scheduler() -> None:
    """Set what is to be set in this process before one is made."""
    idle.prepare()
    tls_sockets.mend()
    log_filters.limit_refusals(1)
    log_filters.ignore_lost_peers()
    access.leave_out_proxy()


async def _announce(scheduler: Scheduler, spec: SchedulerSpec) -> None:
    """Write where a scheduler is, and what it knows of the run's progress, for those outside."""
    link = dashboard_link(scheduler, spec)
    if spec.record is not None:
        directory, progress = spec.record
        pages = access.link(scheduler, spec.token).removesuffix("status")
        progress = dataclasses.replace(progress, dashboard=link, pages=pages, host=os.uname().nodename)
        await scheduler.register_scheduler_plugin(ProgressWriter(directory, progress), idempotent=False)
    if spec.file is not None:
        about = dataclasses.replace(spec.about, clients=contact(scheduler, spec).clients, dashboard=link)
        scheduler_file.write(spec.file, scheduler.identity(), about)


def _taken(addresses: Sequence[tuple[str, int]], error: Exception) -> StartupError | None:
    """Return what is wrong if it is a port or an address that the user has chosen."""
    cause = error.__cause__ or error
    number = cause.errno if isinstance(cause, OSError) else None
    chosen = " or ".join(f"port {port} on {host}" for host, port in addresses if port)
    another = "choose another with --scheduler-port or --client-address, or leave it out"
    if number == errno.EADDRNOTAVAIL:
        hosts = " or ".join(host for host, _ in addresses)
        return StartupError(
            f"no network interface of {os.uname().nodename} has the address {hosts}",
            "give one of its own, as `ip addr` shows them: one that a gateway translates is not here",
        )
    if number == errno.EACCES and chosen:
        return StartupError(f"{chosen} is not for ordinary users", another)
    return StartupError(f"{chosen} is taken", another) if number == errno.EADDRINUSE and chosen else None


def contact(scheduler: Scheduler, spec: SchedulerSpec) -> Contact:
    """Return where a scheduler is, and its keys."""
    addresses = [listener.contact_address for listener in scheduler.listeners]
    return Contact(addresses[0], spec.keys, addresses[1] if len(addresses) > 1 else None)


async def identify(contact: Contact, timeout: float) -> str:
    """Return the id of the scheduler there; raises OSError if it does not answer within so many seconds."""
    security: Any = security_of(contact) or Security()  # type: ignore[no-untyped-call]  # Dask's
    arguments = security.get_connection_args("client")
    async with (
        asyncio.timeout(timeout),
        rpc(contact.address, connection_args=arguments) as scheduler,  # type: ignore[no-untyped-call]  # Dask's
    ):
        try:
            about = await scheduler.identity(n_workers=0)
        except TypeError:  # a scheduler of distributed before 2025.4 always lists its workers
            about = await scheduler.identity()
        return str(about["id"])


def dashboard_link(scheduler: Scheduler, spec: SchedulerSpec) -> str | None:
    """Return where the scheduler's dashboard is, None if there is none, or none for want of bokeh."""
    return access.link(scheduler, spec.token) if _has_dashboard(spec) else None


def _has_dashboard(spec: SchedulerSpec) -> bool:
    return spec.dashboard and importlib.util.find_spec("bokeh") is not None


def idled_out(scheduler: Scheduler) -> bool:
    """Whether a scheduler that has ended did so because it had nothing to do."""
    since, timeout = scheduler.idle_since, scheduler.idle_timeout
    return bool(timeout and since and time.time() - since >= timeout)


async def start_workers(spec: WorkerGroupSpec, on_up: Callable[[int], None] = lambda rank: None) -> list[Server]:
    """Return the workers that are hosted here when the scheduler knows them.

    on_up: called with the rank of each that the scheduler knows

    Raises StartupError for a worker class that cannot be had or a worker that does not start. Of those that take the
    place of lost ones, such a worker is left out, unless none starts.
    """
    raise_open_files()
    idle.prepare()
    servers.notice_ready_workers()
    tls_sockets.mend()
    named = imported.worker_class(spec.worker_class)
    cls = WatchedNanny if named is Nanny else named
    log_filters.ignore_lost_peers()
    log_filters.limit_refusals(0)
    gpus = [worker.gpu for worker in spec.workers if worker.gpu]
    gpu_workers.prepare(spec.environ, gpus, reporter=spec.workers[0].rank if spec.turn.index == 0 else None)
    if not spec.nanny:
        _prepare(spec, cls)
    access.leave_out_pages_of_workers()
    answer_clients()  # those of tasks
    workers = gpu_workers.to_make(cls, spec)
    made = [_make(cls, spec, worker) for worker in workers]
    starting = [_start(server, worker, on_up) for worker, server in zip(workers, made, strict=True)]
    left_out = LeftOut(made, spec.timeout)
    if spec.again:
        starting = [left_out.attempt(*each) for each in zip(starting, made, workers, strict=True)]
    try:
        with log_filters.unlogged("distributed.nanny"):  # a failure is raised, and told once
            async with asyncio.timeout(None if spec.again else spec.timeout):
                await staggering.in_turn(starting, spec.turn)
    except TimeoutError:
        raise StartupError(
            f"the workers did not start within {spec.timeout:g} s",
            "allow more time with --startup-timeout",
        ) from None
    return left_out.others()


class LeftOut:
    """Workers that do not start in the place of lost ones: the others go on without them."""

    def __init__(self, servers: Sequence[Server], timeout: float) -> None:
        """Begin with none; timeout: s for each to start."""
        self._servers, self._timeout, self._why = servers, timeout, dict[int, Exception]()

    async def attempt(self, starting: Awaitable[None], server: Server, worker: WorkerSpec) -> None:
        """Await the start of a worker's server."""
        try:
            async with asyncio.timeout(self._timeout):
                await starting
        except (OSError, RuntimeError) as error:
            self._why[id(server)] = error
            why = as_mpidask_error(error).what if str(error) else f"it did not start within {self._timeout:g} s"
            warn(f"worker {worker.name} on {os.uname().nodename} does not come back: {why}", key="lost-worker")

    def others(self) -> list[Server]:
        """Return the servers that have started; raises the last error if none has."""
        if self._why and len(self._why) == len(self._servers):
            raise list(self._why.values())[-1]
        return [server for server in self._servers if id(server) not in self._why]


async def _start(server: Server, worker: WorkerSpec, on_up: Callable[[int], None]) -> None:
    mark(f"start worker {worker.name}", NOTE)
    await server
    mark(f"worker {worker.name} is up", NOTE)
    on_up(worker.rank)


def _make(cls: type[Server], spec: WorkerGroupSpec, worker: WorkerSpec) -> Server:
    settings: dict[str, Any] = {
        "name": worker.name,
        "nthreads": worker.nthreads,
        "memory_limit": worker.memory,
        "local_directory": spec.directory,
        "host": spec.host,
        "protocol": spec.protocol,
        "dashboard": False,
        "dashboard_address": _HTTP,
        **({"security": security} if (security := security_of(spec.scheduler)) is not None else {}),
        **port_choice.arguments(cls, spec),
        **({"data": imported.data_maker(spec.data)} if spec.data is not None else {}),
        **spec.worker_options,
    }
    if issubclass(cls, Worker):
        settings["plugins"] = (*settings.get("plugins", ()), idle.plugin(nanny=spec.nanny), SelfReport())
        settings["plugins"] += worker_marks(worker.name, nanny=spec.nanny)
        settings["plugins"] += (WorkerMeasures(),) if spec.measured else ()
    share = spec.shares.get(worker.rank, RankShare())
    if issubclass(cls, Worker | Nanny) and spec.nanny and (share.cores or share.log is not None):
        settings["plugins"] = (*settings.get("plugins", ()), TakeShare(share))
    if issubclass(cls, Worker) and spec.nanny:
        cls, settings["worker_class"] = WatchedNanny, cls
    if issubclass(cls, Nanny):
        own = {worker.gpu_variable: worker.gpu} if worker.gpu else {}
        settings["env"] = {**share.environ, **own, **worker_environ(worker.rank), **(settings.get("env") or {})}
    server = cls(spec.scheduler.address, **settings)
    if isinstance(server, Worker):
        lost_connections.note_reason(server)
    return server


def _prepare(spec: WorkerGroupSpec, cls: type[Server]) -> None:
    """Set what must be there before a worker is made in this process, the rank's."""
    blas = min((worker.blas_threads for worker in spec.workers), default=1)
    pre_spawn = dask.config.get("distributed.nanny.pre-spawn-environ")
    os.environ.update(variables(blas, (), pre_spawn, os.environ))
    worker_environment.name_files(spec.sockets, semaphore_prefix(os.environ.get(TOKEN, "")))
    if not issubclass(cls, Worker):  # nannies of the user's own: never forked from the rank, MPI is up in it
        start_fork_server()
    elif spec.workers and spec.workers[0].gpu is not None:
        gpu_workers.settle(spec.workers[0], choice=spec.choice)


def start_fork_server() -> None:
    """Start what the workers of this process's nannies are forked from."""
    dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"})
    compat.leave_fork_server_alone()
    multiprocessing.set_forkserver_preload(["mpidask.launch.servers.forkserver_preload"])
    multiprocessing.forkserver.ensure_running()


def raise_open_files() -> tuple[int, int]:
    """Raise the soft limit on open files to the hard one, and return both: a scheduler needs several per worker."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if 0 <= hard <= _OPEN_FILES else max(soft, _OPEN_FILES)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if soft >= 0 else soft, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)
