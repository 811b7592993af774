"""Wakes a rank that waits for the end of a run.

MPI has no wait that sleeps, and to look often costs CPU on every rank. A datagram says "look now", nothing else; what
there is to see comes over MPI. Where one is lost, or none passes between nodes, the rank looks when it would have
looked anyway.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct

__all__ = ["ADDRESS_SIZE", "WakeupSocket"]

_ADDRESS = struct.Struct("!4sH8s")  # IPv4 address, port, secret

#: Bytes of what others need to wake a rank.
ADDRESS_SIZE = _ADDRESS.size

_PAUSE, _LOCAL_PAUSE = 1.0, 4.0  # s between two looks that nobody asked for, the second where no datagram is lost


class WakeupSocket:
    """What wakes one rank.

    address: what others need to wake it; zeros if there is no socket to be had
    pause, growth: how long to sleep at most, in s; what sleeps grow by
    """

    growth = 1.5

    def __init__(self, address: str) -> None:
        """Listen on an IPv4 address."""
        self._secret = os.urandom(8)  # of others nobody looks
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self.address = bytes(ADDRESS_SIZE)
        self.pause = _LOCAL_PAUSE if address.startswith("127.") else _PAUSE
        with contextlib.suppress(OSError):
            self._socket.bind((address, 0))
            self.address = _ADDRESS.pack(socket.inet_aton(address), self._socket.getsockname()[1], self._secret)

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._socket.fileno()

    def wake(self, addresses: bytes | bytearray) -> None:
        """Wake the ranks with these addresses, one after the other; never raises."""
        for address, port, secret in _ADDRESS.iter_unpack(addresses):
            if port:
                with contextlib.suppress(OSError):
                    self._socket.sendto(secret, (socket.inet_ntoa(address), port))

    def wait(self, seconds: float) -> bool:
        """Sleep until it is woken or the time is over; return whether it was woken."""
        select.select([self._socket], [], [], seconds)
        return self.was_woken()

    async def wait_async(self, seconds: float) -> bool:
        """Do the same while the event loop goes on."""
        import asyncio  # which is large, and not needed before MPI is up

        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()

        def end() -> None:
            if not over.done():
                over.set_result(None)

        loop.add_reader(self._socket, end)
        timer = loop.call_later(seconds, end)
        try:
            await over
        finally:
            timer.cancel()
            loop.remove_reader(self._socket)
        return self.was_woken()

    def was_woken(self) -> bool:
        """Whether it was woken since this was asked last."""
        woken = False
        with contextlib.suppress(OSError):  # until nothing is left
            while True:
                woken |= self._socket.recv(64) == self._secret
        return woken

    def close(self) -> None:
        """Take it down."""
        self._socket.close()
