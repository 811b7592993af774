"""What all ranks know once they have met: options, roles, and what each rank gets of its node."""

from __future__ import annotations

import bisect
import dataclasses
import importlib.util
import os
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mpidask import config, dask_settings
from mpidask.config import Options
from mpidask.errors import MpidaskError, StartupError, UsageError, caught
from mpidask.launch.cluster import banner
from mpidask.launch.comm.polling import WaitPolicy, wait
from mpidask.launch.comm.world import World
from mpidask.launch.resources import division, gpus, hardware, network, roles, scratch, staggering, ucx, walltime
from mpidask.launch.resources.roles import Role
from mpidask.security import credentials
from mpidask.security.credentials import Contact

__all__ = ["Layout", "meet", "settle"]


@dataclasses.dataclass
class Layout:
    """What all ranks know, and this rank's part of it.

    address: IPv4 address on which this rank listens
    link:    how the nodes reach each other, in words
    joined:  the scheduler that is there already, None if the run starts its own
    scratch: this rank's directory, once it is made
    run:     id of the run, by which it knows what it wrote
    path:    first entries of sys.path for servers and workers: the script's
    """

    rank: int
    options: Options
    facts: list[division.Facts]
    roles: list[Role]
    workers: list[division.WorkerSpec]
    address: str
    link: str
    joined: Contact | None = None
    scratch: scratch.Scratch | None = None
    run: str = ""
    path: tuple[str, ...] = ()
    begun: float = dataclasses.field(default_factory=time.monotonic)

    @property
    def role(self) -> Role:
        """Role of this rank."""
        return self.roles[self.rank]

    @property
    def mine(self) -> list[division.WorkerSpec]:
        """Workers of this rank."""
        return [worker for worker in self.workers if worker.rank == self.rank]

    @property
    def hosts(self) -> dict[int, str]:
        """Rank -> host name."""
        return {rank: fact.host for rank, fact in enumerate(self.facts)}

    @property
    def client(self) -> int | None:
        """The rank that runs the script, None if there is none."""
        return self._rank_of(Role.CLIENT)

    @property
    def scheduler(self) -> int | None:
        """The rank that hosts the scheduler, None if it runs elsewhere."""
        return self._rank_of(Role.SCHEDULER)

    def _rank_of(self, role: Role) -> int | None:
        return next((rank for rank, its in enumerate(self.roles) if role in its), None)

    @property
    def reporting_rank(self) -> int:
        """The rank that prints the banner and the closing line."""
        return self.scheduler or 0

    @property
    def startup_timeout(self) -> float:
        """How long to wait for the workers, in s."""
        return _timeout(self.options, self.turn)

    @property
    def turn(self) -> staggering.Turn:
        """When this rank is to start its workers: its turn among those that host some."""
        hosting = [rank for rank, role in enumerate(self.roles) if Role.WORKER in role]
        index = bisect.bisect_left(hosting, self.rank)
        encrypted = config.transport(self.options) in ("tls", "wss")
        return staggering.Turn(index, max(1, len(hosting)), encrypted, len(self.facts[self.rank].cores))


def settle(world: World, read: Callable[[], Any]) -> Any:
    """Have rank 0 read what the user wants, and hand it and Dask's configuration to all ranks.

    read: returns the options, or whatever holds them; an error that it raises is raised on all ranks
    """
    value: Any = None
    if world.rank == 0:
        value = caught(lambda: (read(), _configuration(), uuid.uuid4().hex, _of_the_job()))
    value = wait(world.share(value, 0))
    if isinstance(value, MpidaskError):
        raise value
    settled, world.configuration, world.run, variables = value
    os.environ.update(variables)
    if "dask" in sys.modules:
        dask_settings.update(world.configuration)
    return settled


def _configuration() -> dict[str, Any]:
    """Return Dask's configuration, with the defaults that come with its servers."""
    import dask.config

    servers = importlib.util.find_spec("distributed")
    if servers is not None and servers.origin is not None:
        _check_byte_code(servers.cached, os.path.dirname(servers.origin))
        if not dask.config.get("distributed.nanny", None):  # they have not been imported
            import yaml

            file = Path(servers.origin).with_name("distributed.yaml")
            dask.config.update_defaults(yaml.safe_load(file.read_text(encoding="utf-8")))
    if not dask.config.get("logging", None) and not dask.config.get("logging-file-config", None):
        # Dask's own lines are for those who ask for them: a good run prints nothing but banner and closing line.
        dask.config.set({"logging": {**dask_settings.LEVELS, "asyncio": "error"}})
        os.environ[dask_settings.QUIET] = "warning"
    return dask.config.config


def _check_byte_code(file: str | None, package: str) -> None:
    """Warn if every process is to compile Dask anew.

    file: where the byte code of the package should be
    """
    if file is not None and not os.path.exists(file):
        where = os.path.dirname(package)
        sys.stderr.write(
            "mpidask: warning: Dask has no byte code (.pyc) here: every process compiles it anew, which takes longer "
            f"than all else\nmpidask: remedy: {sys.executable} -m compileall -q {where}\n"
        )


def _of_the_job() -> dict[str, str]:
    """Return what the environment says of the job: launchers do not take all of it to other nodes."""
    return {name: os.environ[name] for name in (*walltime.SHARED, dask_settings.QUIET) if name in os.environ}


def meet(world: World, options: Options, *, with_client: bool = True, joined: Contact | None = None) -> Layout:
    """Find out what each rank has, divide it, agree on the network; raises an MpidaskError on all ranks.

    joined: a scheduler that is there already
    """
    client = min(1, world.size - 1) if options.client_rank is None else options.client_rank
    assigned = roles.assign(
        world.size,
        client=client if with_client else None,
        scheduler=None if joined else options.scheduler_rank,
        inclusive=config.inclusive(options),
    )
    role = assigned[world.rank]
    world.use_role(role)
    policy = WaitPolicy(_timeout(options, staggering.Turn(ranks=world.size)), compact=division.compact)
    by_rank = wait(world.agree(caught(lambda: _look_around(world, options, role, joined)), policy))
    facts = [by_rank[rank] for rank in range(world.size)]
    if world.rank == 0 and options.gpus:
        sys.stderr.write(banner.gpu_warnings(facts, assigned))
    workers = division.divide(
        facts,
        [Role.WORKER in its for its in assigned],
        [bool(its & roles.VITAL) for its in assigned],
        division.WorkerRequest(
            nthreads=options.nthreads,
            memory=None if options.memory_limit is None else config.memory(options.memory_limit),
            gpus=options.gpus,
            per_rank=config.workers_per_rank(options),
            inside=config.inside(options),
        ),
    )
    if world.rank == 0:
        sys.stderr.write(banner.doubts(facts, workers))
    if options.min_workers is not None and options.min_workers > len(workers):
        raise UsageError(
            f"--min-workers is {options.min_workers}, and there are {len(workers)} workers",
            f"ask for at most {len(workers)}, or start more ranks",
        )
    prefix = options.name or (world.run[:6] if joined else None)  # others have taken the ranks' numbers
    if prefix is not None:
        workers = [dataclasses.replace(worker, name=f"{prefix}-{worker.name}") for worker in workers]
    address, link = _find_network(world, options, facts, joined)
    world.listen_for_wakeups(address)
    return Layout(world.rank, options, facts, assigned, workers, address, link, joined, run=world.run)


def _timeout(options: Options, turn: staggering.Turn) -> float:
    """Return how long ranks wait for each other, in s."""
    if options.startup_timeout is None:
        return staggering.startup_timeout(turn.ranks, encrypted=turn.encrypted)
    return config.seconds(options.startup_timeout)


def _look_around(world: World, options: Options, role: Role, joined: Contact | None) -> division.Facts:
    """Return this rank's facts; clear away what dead runs have left on its node."""
    # Servers are in the rank's agent, where no MPI is, if it hosts workers with nannies.
    connects = Role.CLIENT in role or not (Role.WORKER in role and options.nanny)
    protocol = joined.address.partition("://")[0] if joined is not None else config.transport(options)
    ucx.check(protocol, here=connects)
    facts = gpus.seen(hardware.read_facts(world.original_environ, options.interface), world.original_environ)
    if options.interface is not None and not facts.addresses:
        raise StartupError(
            f"there is no network interface {options.interface!r} with an IPv4 address",
            f"--interface takes one of: {', '.join(hardware.interfaces())}",
        )
    if role != Role.CLIENT:
        base = scratch.choose(options.local_directory, world.original_environ, shared=options.shared_scratch)
        scratch.sweep(base)
        facts = dataclasses.replace(facts, scratch=base)
    return facts


def _find_network(
    world: World, options: Options, facts: Sequence[division.Facts], joined: Contact | None
) -> tuple[str, str]:
    """Return the address on which this rank listens, and how the nodes reach each other."""
    policy = WaitPolicy(_timeout(options, staggering.Turn(ranks=world.size)))
    probers = network.probers(facts)
    first = probers[facts[world.rank].network]  # the rank that tries for this one
    if joined is not None:
        context = credentials.context_of(joined)
        reached_it = caught(lambda: network.towards(joined.address, context) if first == world.rank else "")
        own = wait(world.agree(reached_it, policy))
        return own[first], f"that of the scheduler at {joined.address}"
    host = facts[options.scheduler_rank]
    alone = network.one_network(facts)
    if alone and options.interface is None and (options.scheduler_file is None or not host.addresses):
        return network.loopback(), "loopback, all ranks are on one node"
    targets = network.ProbeTargets(host.addresses) if world.rank == options.scheduler_rank else None
    offers = wait(world.share(targets.offers if targets else None, options.scheduler_rank))
    tried = caught(lambda: network.probe(offers, network.probe_timeout(len(probers))) if first == world.rank else {})
    reached = network.answers(facts, wait(world.agree(tried, policy)))
    if targets:
        targets.close()
    name, address = network.best(
        offers, reached, {rank: fact.host for rank, fact in enumerate(facts)}, options.scheduler_rank
    )
    return reached[world.rank][address], f"{name}, tried by connecting from every rank"
