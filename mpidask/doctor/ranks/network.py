"""Sockets with which nodes try each other: who is reached, how fast, and what a firewall blocks."""

from __future__ import annotations

import contextlib
import socket
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mpidask.doctor.time_limit import share
from mpidask.errors import StartupError
from mpidask.ports.port_range import PortRange

__all__ = ["Link", "Offer", "Targets", "connect", "own_answers"]

#: Interface, address and port on which somebody listens.
Offer = tuple[str, str, int]

_TIMEOUT = 3.0  # of 60 s, for a connection
_IDLE = 30.0  # of 60 s, in which a connection that was made is used
_ROUND_TRIPS = 20
_CHUNK = bytes(2**20)
_SENDING = 0.4  # s in which as much as possible is sent
_OTHERS = (22, 9)  # ports whose answer, be it a refusal, shows that a host is reached: ssh, and one that nobody has


class Targets:
    """A server on each address, which sends single bytes back and counts what else comes.

    ports: those that may be used, None for all
    """

    def __init__(self, addresses: Sequence[tuple[str, str]], ports: PortRange | None = None) -> None:
        self._sockets: list[socket.socket] = []
        self.offers: list[Offer] = []
        for name, address in addresses:
            with contextlib.suppress(OSError, StartupError):
                target = socket.create_server((address, ports.free() if ports else 0), backlog=1024)
                self._sockets.append(target)
                self.offers.append((name, address, target.getsockname()[1]))
                threading.Thread(target=_serve, args=(target,), daemon=True).start()

    def close(self) -> None:
        """Close all of them."""
        for target in self._sockets:
            with contextlib.suppress(OSError):
                target.shutdown(socket.SHUT_RDWR)
            target.close()


def _serve(target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = target.accept()
            threading.Thread(target=_answer, args=(connection,), daemon=True).start()


def _answer(connection: socket.socket) -> None:
    """Send each small message back; of what is larger, send a byte at its end, when the other side has shut down."""
    with contextlib.suppress(OSError), connection:
        connection.settimeout(share(_IDLE))
        while True:
            got = connection.recv(2**20)
            if len(got) == 1:
                connection.sendall(got)
            elif not got:
                connection.sendall(b"e")
                return


class Link:
    """A connection to a target, in steps: connect, then measure.

    offer: where somebody listens
    """

    def __init__(self, offer: Offer) -> None:
        self._interface = offer[0]
        self._address = offer[1:]
        self._connection: socket.socket | None = None
        self.error = ""
        self.host_answers = True
        self.latency: float | None = None  # s
        self.rate: float | None = None  # bytes per s

    def connect(self) -> None:
        """Connect, or find out why not."""
        try:
            self._connection = socket.create_connection(self._address, share(_TIMEOUT))
            self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            self.host_answers = isinstance(error, ConnectionRefusedError) or _host_answers(self._address[0])
            self.error = str(error.strerror or error)

    def time_round_trips(self) -> None:
        """Measure the latency; an error ends the connection."""
        self._measure("latency", _latency)

    def send(self) -> None:
        """Measure the rate; an error ends the connection."""
        self._measure("rate", _rate)

    def found(self) -> dict[str, Any]:
        """Return what came of it: the error or "", whether the host answers at all, latency and rate."""
        return {
            "interface": self._interface,
            "address": self._address[0],
            "port": self._address[1],
            "error": self.error,
            "host_answers": self.host_answers,
            "latency": self.latency,
            "rate": self.rate,
        }

    def _measure(self, name: str, how: Callable[[socket.socket], float]) -> None:
        if self._connection is not None:
            try:
                setattr(self, name, how(self._connection))
            except OSError as error:
                self.error = str(error.strerror or error)
                self.close()

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def connect(links: Sequence[Link]) -> None:
    """Connect all of them at once: an address that does not answer takes several seconds."""
    with ThreadPoolExecutor(max(len(links), 1)) as pool:
        list(pool.map(lambda link: link.connect(), links))


def _latency(connection: socket.socket) -> float:
    """Return the median time of a round trip."""
    seconds: list[float] = []
    while len(seconds) < _ROUND_TRIPS and sum(seconds) < _SENDING:
        begun = time.perf_counter()
        connection.sendall(b"x")
        connection.recv(1)
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds)


def _rate(connection: socket.socket) -> float:
    """Return how much arrives in a second; what a slow network has not taken in time counts as well."""
    begun, sent = time.perf_counter(), 0
    with contextlib.suppress(TimeoutError):
        while time.perf_counter() - begun < _SENDING:
            sent += connection.send(_CHUNK)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)  # it has all arrived
    return sent / (time.perf_counter() - begun)


def _host_answers(address: str) -> bool:
    """Whether a host answers on some other port, be it by a refusal."""
    for port in _OTHERS:
        try:
            with socket.create_connection((address, port), share(_TIMEOUT) / 2):
                return True
        except ConnectionRefusedError:
            return True
        except OSError:
            continue
    return False


def own_answers(address: str, ports: PortRange | None) -> str:
    """Return the error of connecting to a server of one's own on an address; "" for none."""
    try:
        with socket.create_server((address, ports.free() if ports else 0)) as target:
            socket.create_connection((address, target.getsockname()[1]), share(_TIMEOUT)).close()
    except (OSError, StartupError) as error:
        return str(getattr(error, "strerror", None) or error)
    return ""
