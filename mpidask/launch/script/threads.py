"""Threads that outlive a script's main thread: Python waits for them, for ever."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable

from mpidask.errors import LostError

__all__ = ["join", "left"]

_NAMED = 10.0  # s after which they are named
_LOOK = 0.05  # s between two looks


def left(others: Iterable[threading.Thread] = ()) -> set[threading.Thread]:
    """Return the threads that the interpreter waits for, but for these others."""
    known = {*others, threading.main_thread(), threading.current_thread()}
    return {thread for thread in threading.enumerate() if not thread.daemon and thread not in known}


def join(waited_for: Callable[[], set[threading.Thread]], grace: float) -> int:
    """Wait until there are none left, and name them meanwhile; return 0, or an exit status where they are given up.

    waited_for: returns them
    grace:      s
    """
    begun, named = time.monotonic(), False
    while threads := waited_for():
        names = ", ".join(sorted(thread.name for thread in threads))
        waited = time.monotonic() - begun
        if waited >= grace:
            error = LostError(
                f"threads that the script left did not end within {grace:g} s and are given up: {names}",
                "join them in the script, make them daemons, or allow more time with --thread-grace",
            )
            _say(error.text())
            return error.status
        if not named and waited >= _NAMED:
            named = True
            _say(f"mpidask: the script has ended; Python waits for its threads: {names}\n")
        time.sleep(min(_LOOK, grace / 10))
    return 0


def _say(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
