"""A tunnel through the standard streams of a command that runs on a node: where there is no ssh.

Both ends run this module: this process, and ``python -m mpidask.attach.relay HOST PORT`` on the node. A line stands for
each piece of a connection, in base64: batch systems pass on whole lines, and some change or hold back other bytes.
"""

from __future__ import annotations

import asyncio
import base64
import concurrent.futures
import contextlib
import functools
import itertools
import re
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import IO, TYPE_CHECKING

from mpidask.errors import BatchError
from mpidask.status_line import PATIENCE, StatusLine

if TYPE_CHECKING:
    from mpidask.batch.commands.command import Command

__all__ = ["opened", "serve", "started"]

_READY = b"mpidask relay is ready"
_LINE = re.compile(rb"(\d+) (open|close|data)(?: ([\w+/=]+))?")
_PIECE = 720  # bytes: Slurm passes on 1024 at a time, which is a line of these (MAX_MSG_LEN in slurmstepd's io.c)
_FULL = 2**20  # bytes that may wait for the other end
_NAP = 0.01  # s
_GLANCE = 0.1  # s between two looks whether the other end is there
_ENDS = 3.0  # s for the other end to leave, and for the thread to end: something may hold the output open
_LOOPBACK = "127.0.0.1"

Ready = concurrent.futures.Future[Callable[[], None]]  # done when connections lead to the node; what ends that
Streams = tuple[asyncio.StreamReader, asyncio.WriteTransport]
Place = tuple[str, int]  # host and port


class _End:
    """One end of the tunnel: its connections, by their numbers.

    place: where the connections lead that the other end asks for; None where this end asks
    """

    def __init__(self, out: asyncio.WriteTransport, place: Place | None = None) -> None:
        self._out, self._place = out, place
        self._numbers = itertools.count()
        self._heard: dict[int, asyncio.Queue[bytes]] = {}  # pieces; an empty one is the end
        self._opening: set[asyncio.Task[None]] = set()

    async def listen(self, lines: asyncio.StreamReader) -> None:
        """Take what the other end says, until it has ended."""
        while line := await lines.readline():
            if said := _LINE.fullmatch(line.strip()):
                self._hear(int(said[1]), said[2], said[3] or b"")

    def _hear(self, number: int, what: bytes, piece: bytes) -> None:
        if what == b"open" and self._place is not None:
            self._heard[number] = asyncio.Queue()
            self._keep(asyncio.ensure_future(self._open(number, self._place)))
        elif number in self._heard:
            self._heard[number].put_nowait(base64.b64decode(piece))

    def _say(self, number: int, what: bytes, piece: bytes = b"") -> None:
        self._out.write(b"%d %s %s\n" % (number, what, base64.b64encode(piece)))

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Have the other end open a connection for one that has come to this end."""
        # Not a coroutine: Python 3.11 prints a traceback for one that is cancelled, as it is where the loop ends.
        self._keep(asyncio.ensure_future(self._accept(reader, writer)))

    def _keep(self, opening: asyncio.Task[None]) -> None:
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = next(self._numbers)
        self._heard[number] = asyncio.Queue()
        self._say(number, b"open")
        await self._carry(number, reader, writer)

    async def _open(self, number: int, place: Place) -> None:
        try:
            reader, writer = await asyncio.open_connection(*place)
        except OSError:
            self._say(number, b"close")
            del self._heard[number]
        else:
            await self._carry(number, reader, writer)

    async def _carry(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what a connection brings, and give it what the other end says, until both have ended."""
        giving = asyncio.ensure_future(_give(self._heard[number], writer))
        try:
            with contextlib.suppress(OSError):
                while piece := await reader.read(_PIECE):
                    self._say(number, b"data", piece)
                    while self._out.get_write_buffer_size() > _FULL:  # noqa: ASYNC110 - a transport has no event for it
                        await asyncio.sleep(_NAP)
            self._say(number, b"close")
            await giving
        finally:  # also where the loop ends
            giving.cancel()
            writer.close()
            del self._heard[number]


async def _give(heard: asyncio.Queue[bytes], writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await heard.get():
            writer.write(piece)
            await writer.drain()
        writer.write_eof()


@contextlib.asynccontextmanager
async def _streams(source: IO[bytes], target: IO[bytes]) -> AsyncIterator[Streams]:
    """Give what reads lines from one file and writes to another one, both of which it closes."""
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    reading, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), source)
    out, _ = await loop.connect_write_pipe(asyncio.Protocol, target)
    try:
        yield lines, out
    finally:
        reading.close()
        if not out.is_closing():
            out.abort()


async def serve(host: str, port: int) -> None:
    """Be the end on the node: open connections to that place, until the other end has ended.

    host: the loopback, or the address on which the user has a server listen
    """
    async with _streams(sys.stdin.buffer, sys.stdout.buffer) as (lines, out):
        out.write(_READY + b"\n")
        await _End(out, (host, port)).listen(lines)


@contextlib.contextmanager
def opened(command: Command, port: int, *, timeout: float, what: str) -> Iterator[Callable[[], int | None]]:
    """Do as `started`, and wait until connections lead to the node.

    timeout: s for it to be ready
    what:    what it is, in words

    Yields what tells the command's exit status, None while it runs. Raises BatchError if it is not ready in time.
    """
    with started(command, port) as (is_ready, status):
        line, deadline = StatusLine(after=PATIENCE), time.monotonic() + timeout
        try:
            while not is_ready() and status() is None and time.monotonic() < deadline:
                line.show(f"waiting for {what}")
                time.sleep(_GLANCE)
        finally:
            line.clear()
        if not is_ready():
            how = f"is not there after {timeout:g} s" if status() is None else f"ended with status {status()}"
            raise BatchError(f"{what} {how}")
        yield status


@contextlib.contextmanager
def started(
    command: Command, port: int, *, quiet: bool = False
) -> Iterator[tuple[Callable[[], bool], Callable[[], int | None]]]:
    """Have connections to a port of this machine's loopback lead to the node while the block lasts.

    command: runs the other end on the node
    quiet:   leave out what it has to say of errors

    Yields what tells whether they do yet, and the command's exit status. Raises BatchError if it does not start.
    """
    from mpidask.batch.commands import runner  # which the end on the node does without

    ready = Ready()
    with contextlib.ExitStack() as running:
        place = running.enter_context(_taken(port))
        # Its end is waited for after that of the command, and before that of the port, which it is not to find closed.
        ends = running.enter_context(contextlib.ExitStack())
        source, target, status = running.enter_context(runner.piped(command, quiet=quiet))
        listening = _listen(source, target, place, ready)
        thread = threading.Thread(target=asyncio.run, args=(listening,), name="mpidask relay", daemon=True)
        thread.start()
        ends.callback(thread.join, _ENDS)
        try:
            yield ready.done, status
        finally:
            if ready.done():  # the other end leaves by itself, and the batch system has nothing to report
                ready.result()()
                deadline = time.monotonic() + _ENDS
                while status() is None and time.monotonic() < deadline:
                    time.sleep(_NAP)


def _taken(port: int) -> socket.socket:
    """Return a socket with this port of the loopback: others may take it before the other end is up."""
    place = socket.socket()
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        place.bind((_LOOPBACK, port))
    except OSError as error:
        place.close()
        raise BatchError(f"port {port} cannot be used here: {error.strerror}") from error
    return place


async def _listen(source: IO[bytes], target: IO[bytes], place: socket.socket, ready: Ready) -> None:
    async with _streams(source, target) as (lines, out):
        while _READY not in (line := await lines.readline()):  # a site may print of its own
            if not line:
                return
        end = _End(out)
        server = await asyncio.start_server(end.accept, sock=place)
        ready.set_result(functools.partial(_leave, asyncio.get_running_loop(), out))
        try:
            await end.listen(lines)
        finally:
            with contextlib.suppress(ValueError):  # the port has been closed: something held the output open
                server.close()


def _leave(loop: asyncio.AbstractEventLoop, out: asyncio.WriteTransport) -> None:
    """Tell the other end that there is no more to come; called from another thread."""
    with contextlib.suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(out.write_eof)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2])))
