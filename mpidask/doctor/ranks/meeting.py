"""What runs beside each rank: brings MPI up, and has the ranks exchange what they have measured.

It is a process of its own, which may hang or be ended. Its standard input has what this rank has measured.
Rank 0 prints what all have found as a line of JSON; then the same again, with the networks between nodes.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from mpidask.addresses.interfaces import addresses
from mpidask.doctor.measuring import end_in_time
from mpidask.doctor.ranks import network
from mpidask.doctor.time_limit import share
from mpidask.launch.comm.polling import WaitPolicy, wait
from mpidask.launch.comm.world import World
from mpidask.launch.resources.hardware import text_of

__all__ = ["main", "partners"]

_MEETING = 30.0  # of 60 s, in which all ranks are to have come
_CHILD = 10.0  # of 60 s, for a child to run
_STEP = 6.0  # of 60 s, in which a node begins to measure latency or rate of its links


def main() -> None:
    """Take part as this rank, to its end."""
    end_in_time()
    channel = os.dup(1)
    os.dup2(2, 1)  # what MPI libraries print is none of it
    mine = json.load(sys.stdin)
    world = World.of(None)
    found = _exchange(world, mine)
    _print(world, channel, found)
    found["tries"] = _try_all(world, {int(rank): about["network"] for rank, about in found["ranks"].items()})
    _print(world, channel, found)
    wait(world.meet(share(_MEETING)))
    world.finalize(last=False)
    World.exit_process(0)


def _print(world: World, channel: int, found: Mapping[str, Any]) -> None:
    if world.rank == 0:
        os.write(channel, f"{json.dumps(found)}\n".encode())


def _policy() -> WaitPolicy:
    return WaitPolicy(timeout=share(_MEETING))


def _exchange(world: World, mine: Mapping[str, Any]) -> dict[str, Any]:
    """Return what all ranks have measured, and when each has looked at its clock."""
    policy = _policy()
    about = wait(world.agree({**mine, "host": world.host, "network": _network(), "child": _child()}, policy))
    first = time.time()  # all have come: what follows takes little time
    wait(world.agree(None, policy))  # which no rank can have passed before rank 0 has looked at its clock
    clocks = wait(world.agree(time.time(), policy))
    last = time.time()
    return {
        "ranks": {str(rank): theirs for rank, theirs in about.items()},
        "clocks": {str(rank): when for rank, when in clocks.items()},
        "span": [first, last],
        "tries": None,
    }


def _network() -> str:
    """Return what processes have in common that reach each other by loopback."""
    boot = text_of(Path("/proc/sys/kernel/random/boot_id")) or socket.gethostname()
    return f"{boot}:{os.readlink('/proc/self/ns/net')}"


def _child() -> str:
    """Return what is wrong with children of a process in which MPI is up; "" for nothing."""
    words = [sys.executable, "-c", "print(6 * 7)"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=share(_CHILD), check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{type(error).__name__}: {error}"
    return "" if done.stdout == "42\n" else (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]


def _try_all(world: World, networks: Mapping[int, str]) -> list[dict[str, Any]]:
    """Have one rank of each node try the scheduler's node and the next one; return what came of it.

    networks: rank -> what it has in common with those that it reaches by loopback
    """
    from mpidask.config import ports
    from mpidask.options.loading import load

    first: dict[str, int] = {}
    for rank in sorted(networks):
        first.setdefault(networks[rank], rank)
    heads = list(first.values())
    if len(heads) == 1:
        return []
    options = load({})
    mine = addresses(options.interface) if world.rank in heads else []
    targets = network.Targets(mine, ports(options))
    offers = wait(world.agree((world.host, targets.offers), _policy()))
    tries = _tried(world, heads, offers)
    every = wait(world.agree(tries, _policy()))
    targets.close()
    return [each for rank in sorted(every) for each in every[rank]]


def partners(heads: list[int], rank: int) -> dict[int, bool]:
    """Return which ranks one of them connects to, and whether it measures the network to it (pure).

    It connects to the scheduler's node, which is rank 0's, and measures to the next node in the circle: whatever the
    number of nodes, no link has more than one at a time to carry in each direction.
    """
    if rank not in heads:
        return {}
    following = heads[(heads.index(rank) + 1) % len(heads)]
    return {other: other == following for other in (heads[0], following) if other != rank}


def _tried(
    world: World, heads: list[int], offers: Mapping[int, tuple[str, list[network.Offer]]]
) -> list[dict[str, Any]]:
    """Return what came of trying other nodes. All ranks take part: they meet between the steps."""
    mine = partners(heads, world.rank)
    links = [(rank, network.Link(offer)) for rank in mine for offer in offers[rank][1]]
    network.connect([link for _, link in links])
    for link in (link for rank, link in links if not mine[rank]):
        link.close()
    measured = [link for rank, link in links if mine[rank]]
    wait(world.agree(None, _policy()))  # now nobody connects any more
    _in_turn(network.Link.time_round_trips, measured)
    wait(world.agree(None, _policy()))  # and from now on the network is busy
    _in_turn(network.Link.send, measured)
    return [
        {**link.found(), "from": world.host, "host": offers[rank][0], "to_scheduler": rank == heads[0]}
        for rank, link in links
    ]


def _in_turn(measure: Callable[[network.Link], None], links: Iterable[network.Link]) -> None:
    """Measure one link after the other, as many as there is time for."""
    deadline = time.monotonic() + share(_STEP)
    for link in links:
        if time.monotonic() < deadline:
            measure(link)
