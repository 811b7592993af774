"""Signals while a rank starts: it ends at once, with one line, also in the midst of MPI_Init.

Imports nothing but the standard library's smallest modules: it runs on every rank before MPI_Init.
"""

from __future__ import annotations

import _thread
import os
import signal

from mpidask.launch.watchdog.launcher_environment import launcher_rank, launcher_size
from mpidask.launch.watchdog.shared_memory import remove, segments_of

__all__ = ["Interruption"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruption:
    """Ends this rank at a signal, until its role has other plans."""

    def __init__(self) -> None:
        """Begin, with the signals that are not ignored."""
        self._reports = launcher_rank(os.environ) == 0  # the environment will not tell any more
        self._alone = launcher_size(os.environ) == 1
        self._ending = _thread.allocate_lock()
        self._pid = os.getpid()
        self._numbers = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
        for number in self._numbers:
            signal.signal(number, lambda number, frame: self._end(number))
        self._told = -1

    def also_in_c(self) -> None:
        """Have signals noticed while a library does not return to the interpreter; call it when no fork will come."""
        listening, self._told = os.pipe()
        os.set_blocking(self._told, False)
        signal.set_wakeup_fd(self._told, warn_on_full_buffer=False)
        _thread.start_new_thread(self._listen, (listening,))

    def _listen(self, descriptor: int) -> None:
        while said := os.read(descriptor, 1):
            if said[0] in self._numbers:
                self._end(said[0])
        os.close(descriptor)

    def _end(self, number: int) -> None:
        if os.getpid() != self._pid or not self._ending.acquire(blocking=False):
            return
        if self._alone:  # else the launcher, or the watchdog, removes what the library leaves
            remove(segments_of("self"))
        if self._reports:
            os.write(2, b"mpidask: interrupted while starting\n")
        os._exit(128 + number)

    def over(self) -> None:
        """End it: signals that come from here on are the role's, which sets handlers of its own."""
        if self._ending.acquire(blocking=False):
            signal.set_wakeup_fd(-1)
            os.close(self._told)
