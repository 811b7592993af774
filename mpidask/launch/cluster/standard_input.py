"""Standard input for the script: launchers give it to rank 0, which sends it to the script's rank."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
from typing import Any

from mpidask.launch.cluster.run import Run
from mpidask.launch.comm.polling import wait_async
from mpidask.launch.comm.world import World
from mpidask.launch.watchdog import launcher_input
from mpidask.launch.watchdog.procfs import launcher_of

__all__ = ["Feed", "Waits", "relay"]

_CHUNK = 65536  # bytes, what a pipe holds
_FIRST_PAUSE, _GROWTH = 0.001, 1.5  # s between two looks for what has come; what it grows by
_LOOK, _SURE = 0.5, 4  # s between two looks at a launcher that does not tell the end; looks that have to agree


async def relay(run: Run) -> None:
    """On rank 0: send all that there is to the script's rank; sleeps while there is nothing. To be cancelled."""
    client = run.layout.client
    if run.world.rank != 0 or client is None or client == 0 or _is_of_another_group():
        return
    source, chunk = _Source(), b"?"
    while chunk:
        chunk = await source.read()
        await wait_async(run.world.send_input(chunk, client))


def _is_of_another_group() -> bool:
    """Whether it is a terminal that would stop this process if it read it."""
    try:
        return os.isatty(0) and os.tcgetpgrp(0) != os.getpgrp()
    except OSError:
        return False


class _Source:
    """Standard input of this process."""

    def __init__(self) -> None:
        self._launcher = launcher_of(os.getppid())
        self._silent = not launcher_input.tells_the_end(self._launcher)
        self._has_come = False

    async def read(self) -> bytes:
        """Return the next bytes, none at the end."""
        ended = 0
        while ended < _SURE:
            if await self._is_readable():
                with contextlib.suppress(OSError):
                    chunk = os.read(0, _CHUNK)
                    self._has_come = True
                    return chunk
                return b""
            ended = ended + 1 if launcher_input.has_ended(self._launcher, quiet=not self._has_come) else 0
        return b""

    async def _is_readable(self) -> bool:
        """Wait until there is something to read, where the launcher does not tell the end for a while only."""
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        try:
            loop.add_reader(0, readable.set)
        except (OSError, ValueError):  # a file, which can be read at any time; or nothing
            return True
        try:
            await asyncio.wait_for(readable.wait(), _LOOK if self._silent else None)
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(0)
        return True


@dataclasses.dataclass(frozen=True)
class Waits:
    """What there is to be waited for: files to read or write, and at most so many seconds."""

    read: list[Any] = dataclasses.field(default_factory=list)
    write: list[int] = dataclasses.field(default_factory=list)
    pause: float | None = None


class Feed:
    """On the script's rank: what has come from rank 0 on its way to the script."""

    def __init__(self, world: World, descriptor: int | None) -> None:
        """Feed a descriptor, the other end of the script's standard input; None for none."""
        self._world, self._descriptor, self._chunk = world, descriptor, b""
        self._pause = _FIRST_PAUSE
        if descriptor is not None:
            os.set_blocking(descriptor, False)
            if world.rank == 0:  # the script's rank was another one than it seemed to be: nobody sends
                self.close()

    @property
    def waits_for(self) -> Waits:
        """What the next step needs."""
        wakeup = self._world.wakeup
        if self._descriptor is None or wakeup is None:
            return Waits()
        return Waits(write=[self._descriptor]) if self._chunk else Waits(read=[wakeup], pause=self._pause)

    def go_on(self, *, writable: bool) -> None:
        """Take a step."""
        if self._descriptor is None:
            return
        if self._chunk and writable:
            self._write()
        wakeup = self._world.wakeup
        if self._chunk or wakeup is None:
            return
        # What it is woken for may come a little later.
        self._pause = _FIRST_PAUSE if wakeup.was_woken() else min(self._pause * _GROWTH, wakeup.pause)
        while self._descriptor is not None and not self._chunk:
            chunk = self._world.receive_input()
            if chunk is None:
                if self._world.is_receiving:
                    self._pause = _FIRST_PAUSE
                return
            self._chunk, self._pause = chunk, _FIRST_PAUSE
            if chunk:
                self._write()
            else:
                self.close()

    def _write(self) -> None:
        assert self._descriptor is not None
        try:
            self._chunk = self._chunk[os.write(self._descriptor, self._chunk) :]
        except BlockingIOError:
            pass
        except OSError:  # the script has closed it
            self.close()

    def close(self) -> None:
        """Have the script read the end."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
