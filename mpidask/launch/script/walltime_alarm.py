"""Ends the script before the walltime does: callbacks, SystemExit in its main thread, then by force."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, Protocol

from mpidask.errors import WalltimeError, warning_text
from mpidask.launch.resources.walltime import CALLBACKS, Clock

__all__ = ["SIGNAL", "Alarm", "error"]

#: Wakes the main thread whatever it waits for. Neither glibc nor MPI libraries nor scripts use it.
SIGNAL = signal.SIGRTMIN + 7

# Parts of the margin: the rest is for the ranks to end in order.
_FOR_CALLBACKS = 1 / 2
_FOR_SCRIPT = 1 / 4  # its `finally` blocks and exit handlers
_FOR_KILL = 1 / 8  # and the last of it for its watchdog, who kills: a script may hold the interpreter lock

_SUSPENDED = 5.0  # s that the alarm's thread may wake late on a busy machine


class Deadline(Protocol):
    """Kills this process past its deadline."""

    def end_within(self, seconds: float) -> None:
        """Set the deadline."""


def error(words: str, what: str) -> WalltimeError:
    """Return what is to be said of the walltime's end.

    words: how near it is
    what:  what is ended for it
    """
    return WalltimeError(
        f"{words}; the {what} is ended",
        "ask for a longer walltime, or save the state in a callback of mpidask.on_walltime and submit with --requeue",
    )


class Alarm:
    """The walltime's clock beside a script; nothing where nothing is known of the walltime.

    status: with which the run ends if the script does not end it
    """

    def __init__(
        self,
        margin: float,
        deadline: Deadline,
        end: Callable[[int], Any],
        raising: Callable[[int], Any] = lambda status: None,
    ) -> None:
        """Prepare it.

        margin:  s
        end:     ends the run in order with this status, in the alarm's thread: the script has not ended
        raising: called in the main thread with the status that SystemExit is about to be raised with there
        """
        self._clock = Clock(margin)
        self._deadline, self._end, self._raising = deadline, end, raising
        self.status = WalltimeError.status
        self._main = threading.main_thread().ident
        self._stopped = threading.Event()
        self._ender = threading.Lock()  # held by who ends the run, for ever
        self._reason: WalltimeError | None = None
        self._in_script = False
        self._thread: threading.Thread | None = None
        self._before: Any = signal.SIG_DFL

    def set(self) -> None:
        """Start the clock, in the main thread."""
        if not self._clock.runs:
            return
        self._in_script = True
        self._before = signal.signal(SIGNAL, self._on_signal)
        if self._clock.left < float("inf"):
            self._deadline.end_within(self._clock.left - _FOR_KILL * self._clock.margin)
        self._thread = threading.Thread(target=self._watch, name="mpidask walltime", daemon=True)
        self._thread.start()

    def script_ended(self, status: int | None = None) -> None:
        """Raise nothing in the main thread any more; status: with which the script has ended, None if unknown."""
        self._in_script = False
        self.status = self.status if status is None else status

    def stop(self) -> None:
        """Stop the clock: the run ends now. Does not return if the alarm is ending it already."""
        if self._thread is None or self._stopped.is_set() or threading.current_thread() is self._thread:
            return
        self._in_script = False
        with self._ender:  # held for ever by an alarm that ends this process
            self._stopped.set()
        with contextlib.suppress(ValueError):  # not in the main thread
            signal.signal(SIGNAL, signal.SIG_IGN)  # drops one that is on its way: by default it ends the process
            signal.signal(SIGNAL, self._before or signal.SIG_DFL)

    # ------------------------------------------------------------- in its thread
    def _watch(self) -> None:
        suspended = False
        while not self._clock.is_due():
            pause, begun, used = self._clock.pause(), time.monotonic(), time.process_time()
            if self._stopped.wait(pause):
                return
            late = time.monotonic() - begun - pause
            # Else the script may have held the interpreter lock.
            suspended = late > _SUSPENDED and time.process_time() - used < late / 4
        margin = self._clock.room
        # Batch systems give a job that they suspend its time later: nobody knows how much, so it ends in order now.
        left = margin if suspended else min(margin, self._clock.left)
        self._deadline.end_within(max(0.0, left - _FOR_KILL * margin))
        if self._in_script:
            self._call_back(_FOR_CALLBACKS * margin)
        with self._ender:
            if self._stopped.is_set():
                return
            if self._in_script:
                self._reason = error(self._clock.words(), "script")
                _say(self._reason.text())
                signal.pthread_kill(self._main or 0, SIGNAL)
        if self._stopped.wait(_FOR_SCRIPT * margin):
            return
        self._ender.acquire()
        if not self._stopped.is_set():
            _say(
                warning_text(
                    f"the script did not end within {_FOR_SCRIPT * margin:.3g} s and is given up", key="too-slow-to-end"
                )
            )
            self._end(self.status)

    def _call_back(self, timeout: float) -> None:
        """Call what is registered; give up what has not ended within so many seconds."""
        if not CALLBACKS:
            return
        number = len(CALLBACKS)
        _say(f"mpidask: {self._clock.words()}; the script is told ({number} callback{'' if number == 1 else 's'})\n")
        # Not a daemon: a script that ends meanwhile waits for it as for its own threads.
        calling = threading.Thread(target=_call_all, name="mpidask walltime callbacks", daemon=False)
        calling.start()
        deadline = time.monotonic() + timeout
        while calling.is_alive() and time.monotonic() < deadline and not self._stopped.is_set():
            calling.join(min(0.1, timeout))
        if calling.is_alive() and not self._stopped.is_set():
            _say(
                warning_text(
                    f"the callbacks did not end within {timeout:.3g} s and are given up", key="too-slow-to-end"
                )
            )

    # --------------------------------------------------------- in the main thread
    def _on_signal(self, number: int, frame: Any) -> None:
        reason, self._reason = self._reason, None
        if self._in_script and reason is not None:
            self._raising(self.status)
            raise SystemExit(self.status) from reason


def _call_all() -> None:
    while CALLBACKS:  # one may register another
        try:
            CALLBACKS.pop(0)()
        except SystemExit:
            pass
        except BaseException:  # noqa: BLE001 - the others are called nevertheless
            traceback.print_exc()


def _say(text: str) -> None:
    with contextlib.suppress(Exception):
        sys.stderr.write(text)
        sys.stderr.flush()
