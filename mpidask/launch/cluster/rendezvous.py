"""How the ranks meet: agree on what is asked for, divide what there is, find the network."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mpidask import config
from mpidask.addresses import interfaces, reachability
from mpidask.compat import dask_settings
from mpidask.config import Options
from mpidask.errors import MpidaskError, StartupError, UsageError, caught, warn
from mpidask.launch.cluster import announce, banner, report_start
from mpidask.launch.cluster.layout import Layout, startup_timeout
from mpidask.launch.cluster.run import Invocation, Run, Settled
from mpidask.launch.comm.polling import WaitPolicy, wait
from mpidask.launch.comm.rank import Rank
from mpidask.launch.comm.world import World
from mpidask.launch.resources import (
    division,
    gpus,
    hardware,
    network,
    roles,
    scratch,
    sharing,
    staggering,
    ucx,
    walltime,
)
from mpidask.launch.resources.division import Facts, WorkerSpec
from mpidask.launch.resources.roles import Role
from mpidask.launch.watchdog import OTHERS, mark, time_run
from mpidask.quantities import working_directory
from mpidask.security import credentials
from mpidask.security.credentials import Contact

__all__ = ["meet"]


def meet(rank: Rank, read: Callable[[], Invocation]) -> Run:
    """Have the ranks meet: agree on what the user wants, find out what each rank has, divide it, settle the network.

    read: returns what the user wants; called on rank 0
    Raises an MpidaskError, on all ranks.
    """
    settled = _settle(rank.world, read)
    options = settled.invocation.options
    written = time_run(options.timeline, settled.run, rank.world.rank)
    if written is not None:
        rank.watchdog.write_timeline(written)
    imports = None
    if options.import_cache is not None:
        from mpidask.launch.imports import import_sharing

        imports = import_sharing.share(rank, options)
    joined = None
    if not options.scheduler:
        from mpidask.launch.cluster import discovery

        joined = discovery.locate(rank.world, options)
    layout = _lay_out(rank, settled, joined)
    return Run(rank, settled, layout, imports)


def _settle(world: World, read: Callable[[], Invocation]) -> Settled:
    """Have rank 0 read what the user wants, and hand it and Dask's configuration to all ranks."""
    value = caught(lambda: _read(read)) if world.rank == 0 else None
    mark("read options and configuration" if world.rank == 0 else "import mpidask")
    value = wait(world.share(value, 0))
    mark("wait for the options", OTHERS)
    if isinstance(value, MpidaskError):
        raise value
    settled: Settled = value
    os.environ.update(settled.variables)
    if "dask" in sys.modules:
        dask_settings.update(settled.configuration)
    return settled


def _read(read: Callable[[], Invocation]) -> Settled:
    """On rank 0: return what all ranks are to have; raises WalltimeError if there is no time left for a cluster."""
    working_directory()  # without one Dask's servers would fail, each in its own way
    invocation = read()
    walltime.check()
    _check_timeline(invocation.options.timeline)
    return Settled(invocation, _configuration(), os.urandom(16).hex(), _of_the_job())


def _check_timeline(file: str | None) -> None:
    """Raise UsageError if the timeline could not be written."""
    if file is None:
        return
    directory, name = os.path.split(file)
    if os.path.isdir(file) or not os.access(directory, os.W_OK):
        raise UsageError(
            f"--timeline is {file!r}, which cannot be written",
            f"give a file in a directory that can be written to, such as --timeline /tmp/{name}",
        )


def _configuration() -> dict[str, Any]:
    """Return Dask's configuration, with the defaults that come with its servers."""
    import dask.config

    servers = importlib.util.find_spec("distributed")
    if servers is not None and servers.origin is not None:
        _check_byte_code(servers.cached, os.path.dirname(servers.origin))
        if "distributed" not in sys.modules:
            import yaml

            file = Path(servers.origin).with_name("distributed.yaml")
            dask.config.update_defaults(yaml.safe_load(file.read_text(encoding="utf-8")))
    if not dask.config.get("logging", None) and not dask.config.get("logging-file-config", None):
        # Dask's own lines are for those who ask for them: a good run prints nothing but banner and closing line.
        dask.config.set({"logging": dict(dask_settings.LEVELS)})
        os.environ[dask_settings.QUIET] = "warning"
    return dask.config.config


def _check_byte_code(file: str | None, package: str) -> None:
    """Warn if every process is to compile Dask anew.

    file: where the byte code of the package should be
    """
    if file is not None and not os.path.exists(file):
        where = os.path.dirname(package)
        warn(
            "Dask has no byte code (.pyc) here: every process compiles it anew, which takes longer than all else",
            f"{sys.executable} -m compileall -q {where}",
            key="no-compiled-bytecode",
        )


def _of_the_job() -> dict[str, str]:
    """Return what the environment says of the job: launchers do not take all of it to other nodes."""
    return {name: os.environ[name] for name in (*walltime.SHARED, dask_settings.QUIET) if name in os.environ}


def _lay_out(rank: Rank, settled: Settled, joined: Contact | None) -> Layout:
    """Find out what each rank has, and divide it; raises an MpidaskError on all ranks.

    joined: a scheduler that is there already
    """
    world, options = rank.world, settled.invocation.options
    assigned = _assign(world.size, settled.invocation, joined=joined is not None)
    rank.use_role(assigned[world.rank])
    timeout = startup_timeout(options, staggering.Turn(ranks=world.size))
    looked = caught(lambda: _look_around(rank, options, assigned[world.rank], joined))
    mark("look around on the node")
    with announce.meeting(world, options, {}) as show:
        by_rank = wait(world.agree(looked, WaitPolicy(timeout, progress=show, compact=division.compact)))
    mark("meet the other ranks", OTHERS)
    facts = [by_rank[number] for number in range(world.size)]
    workers = _divide(options, facts, assigned)
    if world.rank == 0:
        _warn(options, facts, assigned, workers)
    prefix = options.name or (settled.run[:6] if joined else None)  # others have taken the ranks' numbers
    if prefix is not None:
        workers = [dataclasses.replace(worker, name=f"{prefix}-{worker.name}") for worker in workers]
    address, link = _find_network(world, options, facts, joined)
    mark("divide, and find the network")
    apart = not options.nanny or config.starts_workers(options)
    agents = sharing.agents(
        facts,
        workers,
        first=roles.rank_of(Role.SCHEDULER, assigned),
        last=roles.rank_of(Role.CLIENT, assigned),
        apart=apart,
    )
    layout = Layout(world.rank, options, facts, assigned, workers, address, link, agents, joined)
    world.listen_for_wakeups(address, layout.busy)
    if layout.hosting == [world.rank] and world.size > 1:
        rank.watchdog.is_needed()  # no worker is left without it
    return layout


def _assign(size: int, invocation: Invocation, *, joined: bool) -> list[Role]:
    """Return each rank's role."""
    options = invocation.options
    client = min(1, size - 1) if options.client_rank is None else options.client_rank
    return roles.assign(
        size,
        client=client if invocation.has_client else None,
        scheduler=None if joined else options.scheduler_rank,
        inclusive=config.inclusive(options),
    )


def _divide(options: Options, facts: Sequence[Facts], assigned: Sequence[Role]) -> list[WorkerSpec]:
    """Return the workers of all ranks; raises UsageError if there are fewer than the run is to wait for."""
    workers = division.divide(
        facts,
        [Role.WORKER in role for role in assigned],
        [bool(role & roles.VITAL) for role in assigned],
        division.WorkerRequest.of(options),
    )
    if options.min_workers is not None and options.min_workers > len(workers):
        raise UsageError(
            f"--min-workers is {options.min_workers}, and there are {len(workers)} workers",
            f"ask for at most {len(workers)}, or start more ranks",
        )
    return workers


def _warn(options: Options, facts: Sequence[Facts], assigned: Sequence[Role], workers: Sequence[WorkerSpec]) -> None:
    """Say what of nodes and options does not fit together."""
    if options.gpus:
        sys.stderr.write(banner.gpu_warnings(facts, assigned))
    sys.stderr.write(banner.doubts(facts, workers))


def _look_around(rank: Rank, options: Options, role: Role, joined: Contact | None) -> Facts:
    """Return this rank's facts; clear away what dead runs have left on its node."""
    # Servers are in the rank's agent, where no MPI is, if it hosts workers with nannies.
    connects = Role.CLIENT in role or not (Role.WORKER in role and options.nanny)
    protocol = joined.address.partition("://")[0] if joined is not None else config.transport(options)
    ucx.check(protocol, here=connects)
    listens = rank.world.rank == options.scheduler_rank or options.interface is not None
    found = hardware.read_facts(rank.environ, options.interface, listens=listens)
    facts = gpus.seen(found, rank.environ)
    facts = dataclasses.replace(sharing.described(facts, rank.environ), began=report_start.moments(rank, options))
    if options.interface is not None and not facts.addresses:
        raise StartupError(
            f"there is no network interface {options.interface!r} with an IPv4 address",
            f"--interface takes one of: {', '.join(interfaces.interfaces())}",
        )
    if role != Role.CLIENT:
        base = scratch.choose(options.local_directory, rank.environ, shared=options.shared_scratch)
        scratch.sweep(base)
        facts = dataclasses.replace(facts, scratch=base)
    return facts


def _offers(
    world: World, options: Options, addresses: Sequence[tuple[str, str]]
) -> tuple[Sequence[tuple[str, str, int]], network.ProbeTargets | None]:
    """Return what the scheduler's rank has to offer; there, too, what is to be closed. Raises StartupError everywhere.

    addresses: of that rank, with the names of their interfaces
    """
    targets, made = None, None
    if world.rank == options.scheduler_rank:
        made = caught(lambda: network.ProbeTargets(addresses, config.ports(options)))
        targets = made if isinstance(made, network.ProbeTargets) else None
    offers = wait(world.share(targets.offers if targets else made, options.scheduler_rank))
    if isinstance(offers, MpidaskError):
        raise offers
    return offers, targets


def _find_network(world: World, options: Options, facts: Sequence[Facts], joined: Contact | None) -> tuple[str, str]:
    """Return the address on which this rank listens, and how the nodes reach each other."""
    hosts = {rank: fact.host for rank, fact in enumerate(facts)}
    with announce.meeting(world, options, hosts) as show:
        policy = WaitPolicy(startup_timeout(options, staggering.Turn(ranks=world.size)), hosts, progress=show)
        return _tried(world, options, facts, joined, policy)


def _tried(
    world: World, options: Options, facts: Sequence[Facts], joined: Contact | None, policy: WaitPolicy
) -> tuple[str, str]:
    probers = network.probers(facts)
    first = probers[facts[world.rank].network]  # the rank that tries for this one
    if joined is not None:
        context = credentials.context_of(joined)
        reached_it = caught(lambda: reachability.towards(joined.address, context) if first == world.rank else "")
        own = wait(world.agree(reached_it, policy))
        return own[first], f"that of the scheduler at {joined.address}"
    host = facts[options.scheduler_rank]
    alone = network.one_network(facts)
    if alone and options.interface is None and (options.scheduler_file is None or not host.addresses):
        return network.loopback(), "loopback, all ranks are on one node"
    offers, targets = _offers(world, options, host.addresses)
    tried = caught(lambda: network.probe(offers, network.probe_timeout(len(probers))) if first == world.rank else {})
    reached = network.answers(facts, wait(world.agree(tried, policy)))
    if targets:
        targets.close()
    name, address = network.best(offers, reached, dict(policy.hosts), options.scheduler_rank)
    return reached[world.rank][address], f"{name}, tried by connecting from every node"
