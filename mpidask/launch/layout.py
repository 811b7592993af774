"""What all ranks know once they have met: options, roles, and what each rank gets of its node."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from mpidask import config
from mpidask.config import Options
from mpidask.errors import MpidaskError, StartupError
from mpidask.launch import network, node, roles, scratch, shares
from mpidask.launch.program import Program
from mpidask.launch.roles import Role
from mpidask.launch.world import Patience, World, wait

__all__ = ["Layout", "caught", "meet", "settle"]

#: Reads a command line: options and program, or a text to print.
Parse = Callable[[Sequence[str]], "tuple[Options, Program] | str"]


@dataclasses.dataclass
class Layout:
    """What all ranks know, and this rank's part of it.

    address: IPv4 address on which this rank listens
    link:    how the nodes reach each other, in words
    scratch: this rank's directory, once it is made
    """

    rank: int
    options: Options
    program: Program
    facts: list[shares.Facts]
    roles: list[Role]
    workers: list[shares.WorkerPlan]
    address: str
    link: str
    scratch: scratch.Scratch | None = None
    begun: float = dataclasses.field(default_factory=time.monotonic)

    @property
    def role(self) -> Role:
        """Role of this rank."""
        return self.roles[self.rank]

    @property
    def mine(self) -> list[shares.WorkerPlan]:
        """Workers of this rank."""
        return [worker for worker in self.workers if worker.rank == self.rank]

    @property
    def hosts(self) -> dict[int, str]:
        """Rank -> host name."""
        return {rank: fact.host for rank, fact in enumerate(self.facts)}

    @property
    def client(self) -> int:
        """The rank that runs the script."""
        return roles.client_rank(len(self.roles))

    @property
    def startup_timeout(self) -> float:
        """How long to wait for the workers, in s."""
        return config.seconds(self.options.startup_timeout)


def settle(world: World, argv: Sequence[str], parse: Parse) -> tuple[Options, Program] | str:
    """Have rank 0 read command line and configuration, and hand both to all ranks; raises UsageError on all."""
    import dask.config

    value: Any = None
    if world.rank == 0:
        value = caught(lambda: (parse(argv), dask.config.config))
    value = wait(world.share(value, 0))
    if isinstance(value, MpidaskError):
        raise value
    settled, configured = value
    dask.config.update(dask.config.config, configured, priority="new")
    _configure_logging()
    return settled  # type: ignore[no-any-return]  # what parse returned on rank 0


def _configure_logging() -> None:
    """Leave Dask's own lines to those who ask for them: a good run prints nothing but banner and closing line."""
    import dask.config

    if not dask.config.get("logging", None) and not dask.config.get("logging-file-config", None):
        quiet = {"distributed.nanny": "error", "distributed.nanny.memory": "error", "distributed.shuffle": "error"}
        dask.config.set({"logging": {"distributed": "warning", **quiet}})
        os.environ["DASK_LOGGING__DISTRIBUTED"] = "warning"  # for workers, which read it before they get our words


def caught(function: Callable[[], Any]) -> Any:
    """Return a function's value, or what it raised as MpidaskError, so that all ranks learn of it."""
    try:
        return function()
    except Exception as error:  # noqa: BLE001 - whatever it is, rank 0 reports it
        return as_mpidask_error(error)


def as_mpidask_error(error: Exception) -> MpidaskError:
    """Return an error that can be sent and shown."""
    if isinstance(error, MpidaskError):
        return error
    remedy = "check that this node has the same Python environment as the others"
    cause: BaseException = error
    while cause.__cause__ is not None:  # Dask wraps what went wrong in "failed to start"
        cause = cause.__cause__
    return StartupError(f"{type(cause).__name__}: {cause}", remedy if isinstance(error, ImportError) else "")


def meet(world: World, options: Options, program: Program) -> Layout:
    """Find out what each rank has, divide it, agree on the network; raises StartupError on all ranks."""
    assigned = roles.assign(world.size, inclusive=options.inclusive_workers)
    role = assigned[world.rank]
    world.use_role(role)
    patience = Patience(config.seconds(options.startup_timeout))
    by_rank = wait(world.agree(caught(lambda: _look_around(world, options, role)), patience))
    facts = [by_rank[rank] for rank in range(world.size)]
    workers = shares.plan_workers(
        facts,
        [Role.WORKER in its for its in assigned],
        [bool(its & roles.VITAL) for its in assigned],
        nthreads=options.nthreads,
        memory=None if options.memory_limit is None else config.size(options.memory_limit),
        gpus=options.gpus,
    )
    address, link = _find_network(world, options, facts, patience)
    return Layout(world.rank, options, program, facts, assigned, workers, address, link)


def _look_around(world: World, options: Options, role: Role) -> shares.Facts:
    """Return this rank's facts; clear away what dead runs have left on its node."""
    facts = node.read_facts(world.original_environ, options.interface)
    if options.interface is not None and not facts.addresses:
        raise StartupError(
            f"there is no network interface {options.interface!r} with an IPv4 address",
            f"--interface takes one of: {', '.join(node.interfaces())}",
        )
    if role != Role.CLIENT:
        base = scratch.choose(options.local_directory, world.original_environ, shared=options.shared_scratch)
        scratch.sweep(base)
        facts = dataclasses.replace(facts, scratch=base)
    return facts


def _find_network(world: World, options: Options, facts: Sequence[shares.Facts], patience: Patience) -> tuple[str, str]:
    """Return the address on which this rank listens, and how the nodes reach each other."""
    if options.interface is None and network.one_network(facts):
        return "127.0.0.1", "loopback, all ranks are on one node"
    doors = network.Doors(facts[0].addresses) if world.rank == 0 else None
    offers = wait(world.share(doors.offers if doors else None, 0))
    reached = wait(world.agree(caught(lambda: network.knock(offers)), patience))
    if doors:
        doors.close()
    name, address = network.best(offers, reached, {rank: fact.host for rank, fact in enumerate(facts)})
    return reached[world.rank][address], f"{name}, tried by connecting from every rank"
