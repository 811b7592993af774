"""Which rank does what (pure)."""

from __future__ import annotations

import enum
from collections.abc import Sequence

from mpidask.errors import WorldTooSmallException

__all__ = ["VITAL", "Role", "assign", "rank_of"]


class Role(enum.Flag):
    """What a rank does; in small worlds it does several things."""

    SCHEDULER = enum.auto()
    CLIENT = enum.auto()
    WORKER = enum.auto()

    def __str__(self) -> str:
        return "+".join(str(role.name).lower() for role in self)


#: A run cannot go on without these.
VITAL = Role.SCHEDULER | Role.CLIENT


def assign(size: int, *, client: int | None = 1, scheduler: int | None = 0, inclusive: bool = False) -> list[Role]:
    """Return each rank's role.

    size:      number of ranks, from 1 up
    client:    the rank that runs the script, None for none
    scheduler: the rank that hosts the scheduler, None for none
    inclusive: these two host workers too

    Where no rank is left for workers, the scheduler's hosts one, or else the client's. Raises WorldTooSmallException.
    """
    for name, rank in (("script", client), ("scheduler", scheduler)):
        if rank is not None and not 0 <= rank < size:
            raise WorldTooSmallException(
                f"the {name} is to be on rank {rank}, but there {'is' if size == 1 else 'are'} {size} rank"
                f"{'' if size == 1 else 's'}",
                f"start {rank + 1} or more: mpirun -n {rank + 1}" if rank >= 0 else "the first rank is 0",
            )
    roles = [Role(0)] * size
    if client is not None:
        roles[client] |= Role.CLIENT
    if scheduler is not None:
        roles[scheduler] |= Role.SCHEDULER
    hosts = [rank for rank in range(size) if inclusive or not roles[rank]]
    for rank in hosts or [(client if scheduler is None else scheduler) or 0]:
        roles[rank] |= Role.WORKER
    return roles


def rank_of(role: Role, roles: Sequence[Role]) -> int | None:
    """Return the first rank with a role, None if there is none."""
    return next((rank for rank, its in enumerate(roles) if role in its), None)
