"""`PortRange`: the ports that a firewall lets through, for all that listens."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import socket
from collections.abc import Collection, Iterator
from typing import Self

from mpidask.errors import StartupError, UsageError

__all__ = ["PortRange"]

_LAST = 65535


@dataclasses.dataclass(frozen=True)
class PortRange:
    """Ports from the first to the last one, both of them included, as Dask reads ``40000:40100``."""

    first: int
    last: int

    @classmethod
    def parse(cls, text: str, name: str = "the port range") -> Self:
        """Return the range that a text such as 40000:40100 stands for; raises UsageError."""
        match = re.fullmatch(r"\s*(\d{1,5})\s*:\s*(\d{1,5})\s*", text)
        if match is None:
            meant = re.fullmatch(r"\s*(\d+)\s*(?:-|,|\.\.+|\s)\s*(\d+)\s*", text)
            hint = f"did you mean {meant[1]}:{meant[2]}?" if meant else "FIRST:LAST is needed, such as 40000:40100"
            raise UsageError(f"{name} is {text!r}", hint)
        first, last = int(match[1]), int(match[2])
        if not 0 < first < last <= _LAST:
            raise UsageError(f"{name} is {text!r}", f"two ports from 1 to {_LAST} are needed, the smaller one first")
        return cls(first, last)

    def __str__(self) -> str:
        return f"{self.first}:{self.last}"

    def __len__(self) -> int:
        return self.last - self.first + 1

    def _free(self, but: Collection[int] = ()) -> Iterator[int]:
        """Yield the ports on which nothing listens on this node, in no order: of two runs each finds its own."""
        import random  # not at the top: ranks that only wait do without

        for port in random.sample(range(self.first, self.last + 1), len(self)):
            with contextlib.suppress(OSError), socket.create_server(("", port)):
                if port not in but:
                    yield port

    def free(self, but: Collection[int] = ()) -> int:
        """Return a port on which nothing listens on this node; raises StartupError if there is none.

        but: ports that are spoken for
        """
        for port in self._free(but):
            return port
        raise self._used_up(0, 1)

    def with_port(self, address: str, but: Collection[int] = ()) -> str:
        """Return an address such as 127.0.0.1:0 with a port of the range; others stay as they are."""
        host, colon, port = address.rpartition(":")
        return f"{host}{colon}{self.free(but)}" if port == "0" else address

    def shortage(self, needed: int) -> StartupError | None:
        """Return what is wrong if fewer ports than these are free on this node."""
        free = sum(1 for _ in self._free())
        return self._used_up(free, needed) if free < needed else None

    def _used_up(self, free: int, needed: int) -> StartupError:
        return StartupError(
            f"the port range {self} is used up on {socket.gethostname()}: {free} of its {len(self)} ports are free, "
            f"and {needed} {'is' if needed == 1 else 'are'} needed",
            "give a wider range (--port-range, port_range=): a worker takes a port, and so do its nanny, the scheduler "
            "and the dashboard",
        )
