"""What all ranks know once they have met: options, roles, and what each rank gets of its node (pure)."""

from __future__ import annotations

import bisect
import dataclasses
import functools
from collections.abc import Sequence

from mpidask import config, quantities
from mpidask.config import Options
from mpidask.launch.resources import division, sharing, staggering
from mpidask.launch.resources.roles import Role, rank_of
from mpidask.security.credentials import Contact

__all__ = ["Layout", "startup_timeout"]


@dataclasses.dataclass(frozen=True)
class Layout:
    """What all ranks know, and which of them this one is.

    address: IPv4 address on which this rank listens
    link:    how the nodes reach each other, in words
    agents:  for each rank the one that hosts its workers, in the agent beside it or in itself
    joined:  the scheduler that is there already, None if the run starts its own
    """

    rank: int
    options: Options
    facts: Sequence[division.Facts]
    roles: Sequence[Role]
    workers: Sequence[division.WorkerSpec]
    address: str
    link: str
    agents: Sequence[int]
    joined: Contact | None = None

    @property
    def role(self) -> Role:
        """Role of this rank."""
        return self.roles[self.rank]

    @functools.cached_property
    def mine(self) -> list[division.WorkerSpec]:
        """Workers that this rank hosts: its own, and those of other ranks of its node."""
        return [worker for worker in self.workers if self.agents[worker.rank] == self.rank]

    @functools.cached_property
    def stands_for(self) -> list[int]:
        """Ranks whose workers this rank hosts."""
        return sorted({worker.rank for worker in self.mine})

    @functools.cached_property
    def hosting(self) -> list[int]:
        """Ranks that host workers."""
        return sorted({self.agents[worker.rank] for worker in self.workers})

    @property
    def busy(self) -> set[int]:
        """Ranks for which something waits while the run starts."""
        return {rank for rank in (0, self.scheduler, self.client, *self.hosting) if rank is not None}

    @property
    def hosts(self) -> dict[int, str]:
        """Rank -> host name."""
        return {rank: fact.host for rank, fact in enumerate(self.facts)}

    @property
    def client(self) -> int | None:
        """The rank that runs the script, None if there is none."""
        return rank_of(Role.CLIENT, self.roles)

    @property
    def scheduler(self) -> int | None:
        """The rank that hosts the scheduler, None if it runs elsewhere."""
        return rank_of(Role.SCHEDULER, self.roles)

    @property
    def reporting_rank(self) -> int:
        """The rank that prints the banner and the closing line."""
        return self.scheduler or 0

    @property
    def startup_timeout(self) -> float:
        """How long to wait for the workers, in s."""
        return startup_timeout(self.options, self.turn)

    @property
    def turn(self) -> staggering.Turn:
        """When this rank is to start its workers: its turn among those that host some."""
        hosting = self.hosting
        index = bisect.bisect_left(hosting, self.rank)
        encrypted = config.transport(self.options) in ("tls", "wss")
        return staggering.Turn(index, max(1, len(hosting)), encrypted, len(self.cores), len(self.workers))

    @functools.cached_property
    def cores(self) -> tuple[int, ...]:
        """Cores of this rank, and of those whose workers it hosts."""
        return sharing.union(self.facts, [self.rank, *self.stands_for])


def startup_timeout(options: Options, turn: staggering.Turn) -> float:
    """Return how long ranks wait for each other, in s."""
    if options.startup_timeout is None:
        return staggering.startup_timeout(turn.connections, encrypted=turn.encrypted)
    return quantities.seconds(options.startup_timeout)
