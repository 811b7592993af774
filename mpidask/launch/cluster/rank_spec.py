"""What this rank hosts: from the layout to the specs of its servers."""

from __future__ import annotations

import os
import time
from collections import defaultdict

from mpidask import config, job_environment, quantities, run_directory
from mpidask.addresses import interfaces
from mpidask.config import Options
from mpidask.dashboard import access
from mpidask.errors import StartupError
from mpidask.launch.cluster import report_start
from mpidask.launch.cluster.layout import Layout
from mpidask.launch.cluster.run import Run
from mpidask.launch.imports import import_cache
from mpidask.launch.resources import walltime
from mpidask.launch.resources.roles import Role
from mpidask.launch.servers.agent import Agent
from mpidask.launch.servers.specs import RankInfo, RankShare, RankSpec, SchedulerSpec, WorkerGroupSpec
from mpidask.launch.watchdog.agent_process import variables
from mpidask.launch.watchdog.launcher_environment import job_id
from mpidask.launch.watchdog.shared_memory import semaphore_prefix
from mpidask.run_directory import Progress
from mpidask.security import credentials
from mpidask.security.credentials import Contact
from mpidask.security.scheduler_file import About

__all__ = ["rank_infos", "rank_spec", "start_agent"]

_ROLES = {Role.SCHEDULER: "scheduler", Role.CLIENT: "script", Role.WORKER: "worker"}


def rank_spec(run: Run, *, diverts: bool) -> RankSpec:
    """Return what this rank hosts; raises StartupError without a scratch directory.

    diverts: servers and tasks print to the rank's log, if it has one
    """
    layout = run.layout
    return RankSpec(
        _scheduler(run) if run.hosts_scheduler else None,
        _workers(run, layout.joined or Contact(""), diverts=diverts) if layout.mine else None,
        run.configuration,
        semaphore_prefix(run.watchdog.token),
        layout.turn,
        _log(run, run.world.rank) if diverts else None,
        warns=_warns(run),
        path=run.invocation.path,
        cores=layout.cores if layout.cores != layout.facts[layout.rank].cores else (),
    )


def start_agent(run: Run, spec: RankSpec) -> Agent:
    """Start the agent of this rank."""
    blas = min((worker.blas_threads for worker in run.layout.mine), default=1)
    configured = run.configuration.get("distributed", {}).get("nanny", {}).get("pre-spawn-environ") or {}
    users = job_environment.without_what_the_batch_system_has_set(os.environ)
    modules = run.options.preload_import if spec.workers is not None else ()
    libraries = {**variables(blas, modules, configured, users), **import_cache.offer(run.imports)}
    agent = Agent(spec, run.rank.changed_environ(), libraries, run.rank.early.agent())
    if run.hosts_scheduler:
        run.watchdog.scheduler_is_in(agent.pid)
    return agent


def _log(run: Run, rank: int) -> str | None:
    """Return the file for what a rank's servers and tasks print, None if they print where the rank does.

    A part of the job's ranks has none: another part may have the same numbers.
    """
    directory = os.environ.get(run_directory.DIRECTORY)
    return run_directory.rank_log(directory, rank) if directory and run.world.whole else None


def _warns(run: Run) -> bool:
    """Whether this rank is the one of its node that says what is wrong with logs."""
    roles, hosts = run.layout.roles, run.layout.hosts
    ours = [rank for rank, host in hosts.items() if host == run.world.host and roles[rank] != Role.CLIENT]
    return run.world.rank == min(ours, default=run.world.rank)


def _scheduler(run: Run) -> SchedulerSpec:
    """Return how this rank's scheduler is to listen; raises StartupError without a scratch directory."""
    options, layout = run.options, run.layout
    if options.scheduler_file is not None:
        for path in (options.scheduler_file, run_directory.key_file(options.scheduler_file)):
            run.watchdog.remove_if_holding(run.id, path)
    keys = credentials.make() if options.tls and not credentials.configured() else None
    idle = quantities.seconds(options.idle_timeout) if options.idle_timeout is not None else None
    idle = idle if layout.client is None else 0.0  # the script decides
    return SchedulerSpec(
        host=layout.address,
        port=options.scheduler_port or 0,
        protocol=config.transport(options),
        dashboard_address=options.dashboard_address,
        directory=run.scratch().path,
        sockets=run.scratch().sockets,
        file=options.scheduler_file,
        about=About(
            run.id,
            job_id(os.environ),
            keys=keys,
            idle_timeout=options.idle_timeout if idle and layout.client is None else None,
        ),
        clients=_for_clients(options),
        token=access.token() if options.tls else "",  # who can run code here need not be kept from looking
        dashboard=options.dashboard,
        idle=idle,
        wanted=options.min_workers,
        ranks=rank_infos(layout),
        record=_record(run),
        report=report_start.reserve(run),
        environ=_environ(layout, layout.rank),
        ports=config.ports(options),
    )


def rank_infos(layout: Layout) -> tuple[RankInfo, ...]:
    """Return what the scheduler is told of the ranks, by rank."""
    names = defaultdict[int, list[str]](list)
    for worker in layout.workers:
        names[worker.rank].append(str(worker.name))
    return tuple(
        RankInfo(
            rank,
            facts.host,
            ", ".join(word for part, word in _ROLES.items() if part in role),
            facts.pid,
            min((int(limit.amount) for limit in facts.memory), default=None),
            tuple(names[rank]),
        )
        for rank, (facts, role) in enumerate(zip(layout.facts, layout.roles, strict=True))
    )


def _for_clients(options: Options) -> tuple[str, int] | None:
    """Return host and port (0 for a free one) for clients from outside; raises StartupError for what is not here."""
    if options.client_address is not None:
        host, _, port = options.client_address.partition(":")
        return host, int(port or 0)
    if options.client_interface is None:
        return None
    address = next((address for _, address in interfaces.addresses(options.client_interface)), None)
    if address is None:
        raise StartupError(
            f"there is no network interface {options.client_interface!r} with an IPv4 address on the scheduler's node",
            f"--client-interface takes one of: {', '.join(interfaces.interfaces())}",
        )
    return address, 0


def _workers(run: Run, scheduler: Contact, *, diverts: bool) -> WorkerGroupSpec:
    """Return how the workers here are to be run; raises StartupError without a scratch directory.

    scheduler: its address is "" if it is not known yet
    """
    options, layout = run.options, run.layout
    return WorkerGroupSpec(
        workers=layout.mine,
        scheduler=scheduler,
        host=layout.address,
        protocol=scheduler.address.partition("://")[0] or config.transport(options),
        directory=run.scratch().path,
        sockets=run.scratch().sockets,
        nanny=options.nanny,
        data=options.data,
        worker_class=options.worker_class,
        worker_options=options.worker_options or {},
        timeout=layout.startup_timeout,
        turn=layout.turn,
        environ=_environ(layout, layout.rank),
        shares={rank: _share(run, rank, diverts=diverts) for rank in layout.stands_for},
        choice=len(layout.facts[layout.rank].gpus) > 1,
        ports=config.ports(options),
        measured=report_start.is_kept(run),
    )


def _share(run: Run, rank: int, *, diverts: bool) -> RankShare:
    """Return what the workers of a rank have of it: nothing that their host has, too."""
    layout = run.layout
    cores = layout.facts[rank].cores
    return RankShare(
        cores if cores != layout.cores else (),
        {**dict(layout.facts[rank].visible), **_environ(layout, rank)},
        _log(run, rank) if diverts and rank != layout.rank else None,
    )


def _environ(layout: Layout, rank: int) -> dict[str, str]:
    """Return the visible-devices variable without what Dask's monitor of GPUs would stumble over."""
    its = layout.facts[rank]
    return {} if its.gpu_visible is None else {its.gpu_variable: its.gpu_visible}


def _record(run: Run) -> tuple[str, Progress] | None:
    """Return the run directory and what is to stand there; None without one, or for a part of the job's ranks."""
    directory = os.environ.get(run_directory.DIRECTORY)
    if not directory or not run.world.whole:
        return None
    layout = run.layout
    names = {str(worker.name): worker.rank for worker in layout.workers}
    nodes = list(dict.fromkeys(layout.hosts.values()))
    return directory, Progress(
        0, len(layout.workers), walltime.ends(), layout.client, names, nodes=nodes, began=time.time()
    )
