"""Wakes a rank that waits for other ranks, or for a process beside it.

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
import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from mpidask.launch.comm.polling import GROWTH, LONGEST_SLEEP

if TYPE_CHECKING:
    from mpi4py import MPI

__all__ = ["ADDRESS_SIZE", "Arrivals", "WakeupSocket", "Wakeups"]

_ADDRESS = struct.Struct("!4sH8s")  # IPv4 address, port, secret

#: Bytes of what others need to wake a rank.
ADDRESS_SIZE = _ADDRESS.size

_PAUSE, _LOCAL_PAUSE = 1.0, 4.0  # s between two looks that nobody asked for, the second where no datagram is lost


class _Descriptor(Protocol):
    def fileno(self) -> int: ...


class WakeupSocket:
    """What wakes one rank while the run goes on.

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
        poll = select.poll()  # not select(): the descriptor may be beyond 1023
        poll.register(self._socket, select.POLLIN)
        poll.poll(seconds * 1000)
        return self.was_woken()

    async def wait_async(self, seconds: float) -> bool:
        """Do the same while the event loop goes on."""
        await _readable(self._socket, seconds)
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


async def _readable(source: _Descriptor, seconds: float) -> None:
    """Return when a descriptor can be read or the time is over, while the event loop goes on."""
    import asyncio  # which is large, and not needed before MPI is up

    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()

    def end() -> None:
        if not over.done():
            over.set_result(None)

    loop.add_reader(source, end)
    timer = loop.call_later(seconds, end)
    try:
        await over
    finally:
        timer.cancel()
        loop.remove_reader(source)


class Wakeups:
    """What wakes this rank, and what it wakes the others by, once it listens.

    own: what wakes this one; None as long as it does not listen
    """

    def __init__(self, comm: MPI.Intracomm) -> None:
        self._comm, self._busy, self._addresses = comm, list[int](), bytearray()
        self._coming: Any = None  # the request that brings the addresses
        self.own: WakeupSocket | None = None

    def listen(self, address: str, busy: Iterable[int]) -> None:
        """Listen on an IPv4 address, and begin to exchange addresses: all ranks do so at the same place.

        busy: ranks that something depends on; the others need not look at once while the run starts
        """
        from mpi4py import MPI

        self.own = WakeupSocket(address)
        self._busy = [rank for rank in busy if rank != self._comm.Get_rank()]
        self._addresses = bytearray(ADDRESS_SIZE * self._comm.Get_size())
        self._coming = self._comm.Iallgather([self.own.address, MPI.BYTE], [self._addresses, MPI.BYTE])

    def go_on(self) -> bool:
        """Go on with the exchange; return whether none is under way: MPI is not to end meanwhile."""
        if self._coming is not None and self._coming.Test():
            self._coming = None
        return self._coming is None

    def wake(self, *ranks: int) -> None:
        """Wake these ranks, if it is known how."""
        if self.own is not None and self.go_on():
            for rank in ranks:
                self.own.wake(self._addresses[rank * ADDRESS_SIZE : (rank + 1) * ADDRESS_SIZE])

    def wake_busy(self) -> None:
        """Wake all ranks that something depends on."""
        self.wake(*self._busy)

    def wake_all(self) -> None:
        """Wake all ranks."""
        if self.own is not None and self.go_on():
            self.own.wake(self._addresses)

    def close(self) -> None:
        """Take it down."""
        if self.own is not None:
            self.own.close()


class Arrivals:
    """Wakes a wait when something arrives at one of several descriptors, which somebody else reads.

    Of each arrival it is told once: one that nobody reads does not keep the wait awake. What it waits for may arrive
    elsewhere, too: it looks as often as without.

    pause, growth: how long to sleep at most, in s; what sleeps grow by
    """

    pause, growth = LONGEST_SLEEP, GROWTH

    def __init__(self, *sources: _Descriptor | None) -> None:
        """Listen to some; None is none."""
        self._epoll = select.epoll()
        self._told = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        weakref.finalize(self, os.close, self._told)
        self._epoll.register(self._told, select.EPOLLIN | select.EPOLLET)
        for source in sources:
            self.listen_to(source)

    def listen_to(self, source: _Descriptor | None) -> None:
        """Listen to another one."""
        if source is not None:
            self._epoll.register(source, select.EPOLLIN | select.EPOLLET)

    def tell(self, *_: object) -> None:
        """Have the wait look at once."""
        os.eventfd_write(self._told, 1)

    def wait(self, seconds: float) -> bool:
        """Sleep for so long, or until something arrives; return whether it has."""
        return bool(self._epoll.poll(seconds))

    async def wait_async(self, seconds: float) -> bool:
        """Do the same while the event loop goes on."""
        await _readable(self._epoll, seconds)
        return bool(self._epoll.poll(0))
