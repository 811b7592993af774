"""When workers connect to the scheduler, and how long that may take, by the size of the run.

A scheduler is one thread: it lets in so many workers per second, and no more. Those that come all at once wait for each
other, and the last of thousands for longer than Dask waits for a connection. So only so many come at a time: each rank
starts its workers a few at a time, and where there are too many ranks for that, one rank after another begins.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Iterable, Mapping
from typing import Any

__all__ = [
    "Turn",
    "at_once",
    "configure",
    "delay",
    "in_turn",
    "open_files",
    "settings",
    "shortage",
    "spread",
    "startup_timeout",
]

#: Workers that may come at once: enough to keep a scheduler busy, few enough for a tenfold slower one to let them
#: in before Dask gives up
_AT_ONCE = 250

#: Workers that a rank may start at once, per core, and on few cores.
_PER_CORE, _LEAST = 2, 8

#: Workers per second, encrypted or not: less than what a scheduler lets in (benchmarks/registration.py).
_PER_SECOND = {True: 100.0, False: 250.0}

#: Files that a scheduler has open for each worker: its stream, its heartbeats, and while it starts its nanny.
_FILES = 3
_FILES_OF_ITS_OWN = 500  # listeners, clients, libraries, the dashboard's visitors

_STARTUP = 300.0  # s that a run of any size gets
_SLOWER = 4  # times that a scheduler may be, or a network, before something times out
_TIMEOUTS = ("distributed.comm.timeouts.connect", "distributed.comm.timeouts.tcp")
_BACKLOG = "distributed.comm.socket-backlog"


@dataclasses.dataclass(frozen=True)
class Turn:
    """When a rank is to start its workers.

    index:     its place among the ranks that host workers, from 0
    ranks:     how many do
    encrypted: whether connections are
    cores:     cores that the rank may use
    workers:   how many there are in all, where ranks host several
    """

    index: int = 0
    ranks: int = 1
    encrypted: bool = True
    cores: int = 1
    workers: int = 0

    @property
    def connections(self) -> int:
        """How many workers connect to the scheduler."""
        return max(self.ranks, self.workers)


def at_once(turn: Turn) -> int:
    """Return how many of its workers a rank may start at the same time.

    More than its cores can run only slow each other down, until some come too late.
    """
    return max(1, min(_AT_ONCE // turn.ranks, max(_LEAST, _PER_CORE * turn.cores)))


def delay(index: int, *, encrypted: bool) -> float:
    """Return how many seconds after the first one a rank is to start its first worker.

    index: its place among the ranks that host workers, from 0
    """
    return max(0, index + 1 - _AT_ONCE) / _PER_SECOND[encrypted]


def spread(ranks: int, *, encrypted: bool) -> float:
    """Return how many seconds after the first one the last of so many ranks begins."""
    return delay(ranks - 1, encrypted=encrypted)


def startup_timeout(workers: int, *, encrypted: bool) -> float:
    """Return how long to wait for so many workers, in seconds, if the user has not said."""
    return _STARTUP + _SLOWER * spread(workers, encrypted=encrypted)


def settings(ranks: int, configured: Mapping[str, Any], *, encrypted: bool) -> dict[str, Any]:
    """Return what of Dask's configuration a run needs more of than it has; {} for a small one.

    ranks:      how many host workers
    configured: name -> present value
    """
    from dask.utils import parse_timedelta

    later = (_SLOWER - 1) * spread(ranks, encrypted=encrypted)
    if not later:
        return {}
    seconds = {name: parse_timedelta(configured[name], default="seconds") for name in _TIMEOUTS}
    longer: dict[str, Any] = {name: f"{value + later:.0f}s" for name, value in seconds.items()}
    return {**longer, _BACKLOG: max(int(configured[_BACKLOG]), _FILES * ranks)}


def open_files(workers: int) -> int:
    """Return how many files the scheduler of so many workers has open at most."""
    return _FILES_OF_ITS_OWN + _FILES * workers


def shortage(workers: int, limit: int) -> str | None:
    """Return what is to be said where the scheduler may have too few files open, None where it may have enough.

    limit: hard limit on open files of its process
    """
    if open_files(workers) <= limit:
        return None
    return (
        f"the scheduler of {workers} workers may need {open_files(workers)} open files, and may have {limit}: "
        "raise the hard limit (ulimit -Hn) on its node, or have fewer workers with more threads"
    )


def configure(turn: Turn) -> None:
    """Have servers and clients of this process, made from here on, wait as long as a run of that size needs."""
    import dask.config

    configured = {name: dask.config.get(name) for name in (*_TIMEOUTS, _BACKLOG)}
    dask.config.set(settings(turn.connections, configured, encrypted=turn.encrypted))


async def in_turn(servers: Iterable[Awaitable[Any]], turn: Turn) -> None:
    """Start a rank's workers, or their nannies, when it is the rank's turn, and no more of them at a time than may."""
    import asyncio  # which is large: ranks that only wait do without

    places = asyncio.Semaphore(at_once(turn))

    async def start(server: Awaitable[Any]) -> None:
        async with places:
            await server

    await asyncio.sleep(delay(turn.index, encrypted=turn.encrypted))
    await asyncio.gather(*map(start, servers))
