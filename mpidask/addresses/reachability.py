"""Which of a server's addresses this node reaches, and from which of its own: tried by connecting."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mpidask.errors import StartupError

if TYPE_CHECKING:
    import ssl

__all__ = ["TIMEOUT", "Way", "check_listening", "first_reached", "towards"]

TIMEOUT = 3.0  # s for one connection
_TAKEN = 5.0  # s for the system to take one, before Dask tries
_BY_TCP = ("tcp://", "tls://", "ws://", "wss://")
_BUSY = 30.0  # s for a busy scheduler to do its part of TLS: its system has taken the connection
_ROUNDS = 5  # a scheduler to which thousands connect at once may not take each connection
_PAUSE = 2.0  # s between two rounds


@dataclasses.dataclass(frozen=True)
class Way:
    """An address of a server, and the own address on the way to it."""

    address: str
    own: str


def towards(address: str, context: ssl.SSLContext | None = None) -> str:
    """Return the own address on the way to a Dask server such as tls://10.0.0.1:8786; raises StartupError.

    context: for TLS, to be let in: a connection that breaks off is reported there as a stranger's
    """
    try:
        with _connection_at_last(address) as connection:
            own = str(connection.getsockname()[0])
            if context is not None:
                connection.settimeout(_BUSY)
                context.wrap_socket(connection).close()
            return own
    except (OSError, ValueError) as error:
        raise StartupError(
            f"the scheduler at {address} does not answer: {error}",
            "check that it runs, and that this node is on its network",
        ) from error


def _connection_at_last(address: str) -> socket.socket:
    """Connect, in several rounds where nobody answers: a refusal is an answer."""
    for _ in range(_ROUNDS - 1):
        with contextlib.suppress(TimeoutError):
            return _connection(address)
        time.sleep(_PAUSE)
    return _connection(address)


def _connection(address: str, timeout: float | None = None) -> socket.socket:
    host, _, port = address.rpartition("://")[2].rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), TIMEOUT if timeout is None else timeout)


def check_listening(address: str) -> None:
    """Raise ConnectionError where nobody listens: the system takes connections for a server that is busy, too."""
    if not address.startswith(_BY_TCP):
        return
    try:
        _connection(address, _TAKEN).close()
    except (OSError, ValueError) as error:
        raise ConnectionRefusedError("nobody listens there") from error


def first_reached(addresses: Sequence[str], context: ssl.SSLContext | None = None) -> Way:
    """Return the first of a server's addresses that this node reaches.

    addresses: in order of preference, such as tls://10.0.0.1:8786
    context:   for TLS; another server that has the same address elsewhere is not taken for this one
    Raises StartupError if this node reaches none of them.
    """
    for turn in range(_ROUNDS):
        errors = {}
        for address in addresses:
            try:
                return _way(address, context)
            except (OSError, ValueError) as error:
                errors[address] = str(error)
        if turn < _ROUNDS - 1:
            time.sleep(_PAUSE)
    raise _unreached(errors)


def _way(address: str, context: ssl.SSLContext | None) -> Way:
    """Return the way to an address. A busy scheduler may be late with its part of TLS; its node has answered."""
    with _connection(address) as connection:
        own = str(connection.getsockname()[0])
        if context is not None:
            with contextlib.suppress(TimeoutError):
                context.wrap_socket(connection).close()
        return Way(address, own)


def _unreached(errors: dict[str, str]) -> StartupError:
    tried = "\n".join(f"  {address}: {error}" for address, error in errors.items())
    return StartupError(
        f"{socket.gethostname()} reaches none of the scheduler's addresses:\n{tried}",
        "name the interface that leads from the nodes to the scheduler, interface='...' (`ip addr` lists them); a "
        "firewall may let some ports through only: port_range='40000:40100'",
        key="no-common-network",
    )
