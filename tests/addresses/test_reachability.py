"""Which of a server's addresses is taken: the first that answers, and that is the server's own."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest

from mpidask.addresses import reachability
from mpidask.errors import StartupError
from mpidask.security import credentials

pytestmark = pytest.mark.one_mpi


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(reachability, "_ROUNDS", 2)
    monkeypatch.setattr(reachability, "_PAUSE", 0.01)


@pytest.fixture
def closed():
    """An address to which nobody listens."""
    with socket.socket() as kept:
        kept.bind(("127.0.0.1", 0))  # no other process gets the port
        yield f"tls://127.0.0.1:{kept.getsockname()[1]}"


@contextlib.contextmanager
def server(context=None, host="127.0.0.1"):
    """A server that takes connections, with TLS if there is a context; its address."""
    with socket.create_server((host, 0)) as listening:

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    with listening.accept()[0] as connection, contextlib.suppress(OSError):
                        context.wrap_socket(connection, server_side=True).close()

        if context is not None:
            threading.Thread(target=serve, daemon=True).start()
        yield f"tls://{host}:{listening.getsockname()[1]}"
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)


def of_server(keys):
    return keys.security().get_listen_args("scheduler")["ssl_context"]


def of_worker(keys):
    return keys.security().get_connection_args("worker")["ssl_context"]


def test_the_first_address_that_answers_is_taken(closed):
    with server(host="127.0.0.2") as first, server(host="127.0.0.3") as second:
        way = reachability.first_reached([closed, first, second])
        assert (way.address, way.own) == (first, "127.0.0.1")
        assert reachability.first_reached([second, first]).address == second


def test_if_none_answers_all_are_named(closed):
    with pytest.raises(StartupError, match="reaches none of the scheduler's addresses") as raised:
        reachability.first_reached([closed, "tcp://nonsense"])
    assert f"{closed}: [Errno 111]" in raised.value.what
    assert "tcp://nonsense: invalid literal" in raised.value.what
    assert raised.value.key == "no-common-network"


def test_another_server_at_the_same_address_is_not_taken():
    """Addresses of private networks are given more than once."""
    ours, others = credentials.make(), credentials.make()
    with server(of_server(others)) as stranger, server(of_server(ours)) as meant:
        assert reachability.first_reached([stranger, meant], of_worker(ours)).address == meant
        with pytest.raises(StartupError):
            reachability.first_reached([stranger], of_worker(ours))


def test_a_server_that_is_busy_is_taken(monkeypatch):
    """Its system takes the connection; the program does not come to its part of TLS."""
    monkeypatch.setattr(reachability, "TIMEOUT", 0.2)
    with server() as busy:
        assert reachability.first_reached([busy], of_worker(credentials.make())).address == busy


def test_a_scheduler_to_which_thousands_connect_is_tried_again(monkeypatch):
    """Its system may drop a connection; that it refuses one is an answer."""
    tried, connection = [], reachability._connection
    monkeypatch.setattr(reachability, "_ROUNDS", 3)

    def crowded(address):
        tried.append(address)
        if len(tried) < 3:
            raise TimeoutError
        return connection(address)

    monkeypatch.setattr(reachability, "_connection", crowded)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        assert reachability.towards(address) == "127.0.0.1"
        assert len(tried) == 3
    with pytest.raises(StartupError, match="does not answer"):
        reachability.towards(address)
    assert len(tried) == 4
