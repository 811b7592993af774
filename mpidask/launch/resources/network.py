"""Where the scheduler listens, so that every node reaches it: candidates are tried by connecting.

Interface names differ between nodes, so what is agreed on is an address, and each worker takes the one
from which it reached it.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Mapping, Sequence

from mpidask.addresses.reachability import TIMEOUT
from mpidask.errors import StartupError
from mpidask.launch.resources.division import Facts
from mpidask.ports.port_range import PortRange

__all__ = [
    "LOOPBACK",
    "ProbeTargets",
    "answers",
    "best",
    "loopback",
    "one_network",
    "probe",
    "probe_timeout",
    "probers",
]

LOOPBACK = "127.0.0.1"

_AT_ONCE = 1000  # networks that get no more than that: a connection that is dropped is tried again after 1, 3, 7 s


def one_network(facts: Sequence[Facts]) -> bool:
    """Whether all ranks reach each other by loopback."""
    return len({fact.network for fact in facts}) == 1


def loopback() -> str:
    """Return the address by which processes of one node reach each other; raises StartupError if it leads nowhere."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((LOOPBACK, 9))  # asks for the way there; nothing is sent
    except OSError as error:
        raise StartupError(
            f"processes of {socket.gethostname()} cannot reach each other at {LOOPBACK}: {error.strerror}",
            "the loopback interface is down: ip link set lo up (in a container: start it with a network)",
        ) from error
    return LOOPBACK


def probers(facts: Sequence[Facts]) -> dict[str, int]:
    """Return network -> the rank that tries for all that have it: thousands on a node would find what one finds."""
    first: dict[str, int] = {}
    for rank, fact in enumerate(facts):
        first.setdefault(fact.network, rank)
    return first


def answers(facts: Sequence[Facts], found: Mapping[int, Mapping[str, str]]) -> dict[int, Mapping[str, str]]:
    """Return rank -> what the one that tried for it has found.

    found: rank -> what `probe` returned there, {} where it has not been called
    """
    first = probers(facts)
    return {rank: found[first[fact.network]] for rank, fact in enumerate(facts)}


def probe_timeout(networks: int) -> float:
    """Return how many seconds to wait for one connection where so many try."""
    return TIMEOUT * max(1.0, networks / _AT_ONCE)


class ProbeTargets:
    """On the scheduler's rank: a listening socket on each address, for the others to try.

    ports: those that may be used, None for all; raises StartupError if none of them is free
    """

    def __init__(self, addresses: Sequence[tuple[str, str]], ports: PortRange | None = None) -> None:
        self._sockets: list[socket.socket] = []
        self.offers: list[tuple[str, str, int]] = []
        for name, address in addresses:
            with contextlib.suppress(OSError):
                target = socket.create_server((address, ports.free() if ports else 0), backlog=socket.SOMAXCONN)
                self._sockets.append(target)
                self.offers.append((name, address, target.getsockname()[1]))
                threading.Thread(target=_let_in, args=(target,), name="mpidask probe target", daemon=True).start()

    def close(self) -> None:
        """Close all of them."""
        for target in self._sockets:
            with contextlib.suppress(OSError):
                target.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits there
            target.close()


def _let_in(target: socket.socket) -> None:
    """Take what comes, until the target is closed: one that is not taken stays in a queue, and the queue is short."""
    with contextlib.suppress(OSError):
        while True:
            target.accept()[0].close()


def probe(offers: Sequence[tuple[str, str, int]], timeout: float = TIMEOUT) -> dict[str, str]:
    """Return scheduler's address -> own address on the way to it, for every offer that answers within so many s."""
    reached = {}
    for _, address, port in offers:
        with contextlib.suppress(OSError), socket.create_connection((address, port), timeout) as connection:
            reached[address] = connection.getsockname()[0]
    return reached


def best(
    offers: Sequence[tuple[str, str, int]],
    reached: Mapping[int, Mapping[str, str]],
    hosts: Mapping[int, str],
    scheduler: int = 0,
) -> tuple[str, str]:
    """Return the first (interface, address) that every rank reached.

    offers:    (interface, address, port) in order of preference
    reached:   rank -> what `probe` returned there
    hosts:     rank -> host name, for the message
    scheduler: the rank that made the offers
    Raises StartupError, naming who reached what.
    """
    for name, address, _ in offers:
        if all(address in theirs for theirs in reached.values()):
            return name, address
    if not offers:
        raise StartupError(
            f"the scheduler's node {hosts[scheduler]} has no network interface with an IPv4 address for other nodes",
            "`ip -4 addr` shows what there is; bridges and tunnels are used if they are named: --interface NAME",
            key="no-common-network",
        )
    tried = ", ".join(f"{name} ({address})" for name, address, _ in offers)
    unreachable = sorted(rank for rank, theirs in reached.items() if not theirs)
    who = (
        ", ".join(f"rank {rank} on {hosts[rank]}" for rank in unreachable[:8]) or "each rank reached some of them only"
    )
    raise StartupError(
        f"no network address of the scheduler's node {hosts[scheduler]} is reached by all nodes.\n"
        f"tried: {tried}\nnot reached by: {who}",
        "name the interface that connects the nodes with --interface (`ip addr` on a node lists them)",
        key="no-common-network",
    )
