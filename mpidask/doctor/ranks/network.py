"""Sockets with which nodes try each other: who is reached, how fast, and what a firewall blocks."""

from __future__ import annotations

import contextlib
import socket
import statistics
import threading
import time
from collections.abc import Sequence
from typing import Any

from mpidask.errors import StartupError
from mpidask.ports.port_range import PortRange

__all__ = ["Offer", "Targets", "own_answers", "tried"]

#: Interface, address and port on which somebody listens.
Offer = tuple[str, str, int]

_TIMEOUT = 3.0  # s for a connection
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
                target = socket.create_server((address, ports.free() if ports else 0), backlog=128)
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
        connection.settimeout(4 * _TIMEOUT)
        while True:
            got = connection.recv(2**20)
            if len(got) == 1:
                connection.sendall(got)
            elif not got:
                connection.sendall(b"e")
                return


def tried(offer: Offer) -> dict[str, Any]:
    """Return what came of connecting to a target: own address, latency in s and bytes per s; or the error."""
    name, address, port = offer
    found: dict[str, Any] = {"interface": name, "address": address, "port": port, "error": "", "host_answers": True}
    try:
        with socket.create_connection((address, port), _TIMEOUT) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            found |= {"own": connection.getsockname()[0], "latency": _latency(connection), "rate": _rate(connection)}
    except OSError as error:
        answers = isinstance(error, ConnectionRefusedError) or _host_answers(address)
        found |= {"error": str(error.strerror or error), "host_answers": answers}
    return found


def _latency(connection: socket.socket) -> float:
    seconds = []
    for _ in range(_ROUND_TRIPS):
        begun = time.perf_counter()
        connection.sendall(b"x")
        connection.recv(1)
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds)


def _rate(connection: socket.socket) -> float:
    begun, sent = time.perf_counter(), 0
    while time.perf_counter() - begun < _SENDING:
        connection.sendall(_CHUNK)
        sent += len(_CHUNK)
    connection.shutdown(socket.SHUT_WR)
    connection.recv(1)  # it has all arrived
    return sent / (time.perf_counter() - begun)


def _host_answers(address: str) -> bool:
    """Whether a host answers on some other port, be it by a refusal."""
    for port in _OTHERS:
        try:
            with socket.create_connection((address, port), _TIMEOUT / 2):
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
            socket.create_connection((address, target.getsockname()[1]), _TIMEOUT).close()
    except (OSError, StartupError) as error:
        return str(getattr(error, "strerror", None) or error)
    return ""
