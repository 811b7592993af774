"""Which rank does what (pure)."""

from __future__ import annotations

import enum

__all__ = ["VITAL", "Role", "assign", "client_rank"]


class Role(enum.Flag):
    """What a rank does; in small worlds it does several things."""

    SCHEDULER = enum.auto()
    CLIENT = enum.auto()
    WORKER = enum.auto()

    def __str__(self) -> str:
        return "+".join(str(role.name).lower() for role in self)


#: A run cannot go on without these.
VITAL = Role.SCHEDULER | Role.CLIENT


def client_rank(size: int) -> int:
    """Return the rank that runs the user's script."""
    return min(1, size - 1)


def assign(size: int, *, inclusive: bool = False) -> list[Role]:
    """Return each rank's role.

    size:      number of ranks, from 1 up
    inclusive: the scheduler's and the script's rank host workers too

    With one rank it does everything; with two the scheduler's rank hosts the worker.
    """
    if size == 1:
        return [Role.SCHEDULER | Role.CLIENT | Role.WORKER]
    roles = [Role.SCHEDULER, Role.CLIENT] + [Role.WORKER] * (size - 2)
    if inclusive or size == 2:
        roles[0] |= Role.WORKER
    if inclusive:
        roles[1] |= Role.WORKER
    return roles
