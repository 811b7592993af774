"""The dashboard by way of a connection to its scheduler: other nodes cannot reach its loopback."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from distributed.core import Status

__all__ = ["Relay", "offer"]

_OPERATION = "mpidask_dashboard"
_PIECE = 2**16  # bytes
_LOOPBACK = "127.0.0.1"
_EVERYWHERE = ("0.0.0.0", "::", "")  # noqa: S104 - compared


def offer(scheduler: Any) -> None:
    """Have a scheduler let its clients, who have the run's keys, talk to its HTTP server, which asks for the secret."""

    async def relay(comm: Any) -> Status:
        server = scheduler.http_server
        host = _LOOPBACK if server.address in _EVERYWHERE else server.address
        reader, writer = await asyncio.open_connection(host, server.port)
        await _pass_on(comm, reader, writer)
        return Status.dont_reply

    scheduler.handlers[_OPERATION] = relay


class Relay:
    """A port of this node's loopback that leads to the dashboard of a scheduler elsewhere.

    Parameters
    ----------
    connect : callable
        Opens a new connection to the scheduler.
    loop : tornado.ioloop.IOLoop
        The event loop of the client or cluster.

    Attributes
    ----------
    port : int
        The port.
    """

    def __init__(self, connect: Callable[[], Awaitable[Any]], loop: Any) -> None:
        self._connect = connect
        self._loop = loop
        self._socket = socket.create_server((_LOOPBACK, 0))
        self._server: asyncio.Server | None = None
        self._is_closed = False
        self._connections: set[asyncio.Future[None]] = set()
        self.port: int = self._socket.getsockname()[1]
        loop.add_callback(self._start)

    async def _start(self) -> None:
        if self._is_closed:  # before it began
            self._socket.close()
            return
        self._server = await asyncio.start_server(self._accept, sock=self._socket)
        if self._is_closed:
            self._end()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Not a coroutine: Python 3.11 prints a traceback for one that is cancelled, as it is where the event loop ends.
        connection = asyncio.ensure_future(self._serve(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            comm = await self._connect()
            await comm.write({"op": _OPERATION, "reply": False})
        except BaseException as error:
            writer.close()
            if not isinstance(error, OSError):  # which says that the scheduler is gone
                raise
        else:
            await _pass_on(comm, reader, writer)

    def close(self) -> None:
        """Listen no more, and end the connections."""
        self._is_closed = True
        if not self._loop.asyncio_loop.is_running():  # nobody would do it
            with contextlib.suppress(RuntimeError):
                if self._server is not None:
                    self._server.close()
            self._socket.close()
            return
        with contextlib.suppress(RuntimeError):  # the event loop has just been closed
            self._loop.add_callback(self._end)

    def _end(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.cancel()


async def _pass_on(comm: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes from either side, until one of them ends."""
    ways = [asyncio.ensure_future(_to_comm(reader, comm)), asyncio.ensure_future(_from_comm(comm, writer))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        writer.close()
        with contextlib.suppress(OSError):
            await comm.close()


async def _to_comm(reader: asyncio.StreamReader, comm: Any) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(_PIECE):
            await comm.write(piece)


async def _from_comm(comm: Any, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while True:
            writer.write(await comm.read())
            await writer.drain()
