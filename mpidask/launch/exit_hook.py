"""The end of a script that calls mpidask: clusters are closed, and all ranks leave together.

The interpreter calls ``threading._shutdown`` when the main module has ended, however it ended, and before it would wait
for threads. There we do what the launcher does at a script's end; then the interpreter ends with its own exit status.
"""

from __future__ import annotations

import contextlib
import dis
import inspect
import os
import sys
import traceback
import types
from collections.abc import Callable
from typing import Any, Protocol

from mpidask.compat.python import at_the_end_of_the_main_thread
from mpidask.errors import LostError, MpidaskError
from mpidask.launch.comm.polling import wait
from mpidask.launch.comm.rank import Rank
from mpidask.launch.comm.world import World
from mpidask.launch.script import interpreter_end, main_module, threads
from mpidask.launch.servers import log_filters

__all__ = ["EXIT_HOOK", "ExitHook"]

_OTHERS = 2.0  # s that the others get to end as well when a rank has failed


class Closable(Protocol):
    """A session that may still be open at the end."""

    exit: bool

    @property
    def rank(self) -> Rank:
        """One of the session's ranks: this process."""

    def script_ended(self) -> None:
        """Have the script's end left alone: it has ended."""

    def end(self, status: int | None) -> None:
        """Close it; status: the script's exit status, None if it is not known."""


class ExitHook:
    """What this process has to do at its end; there is one.

    grace:  s that threads which the script left are waited for
    rank:   this process among all ranks of the job, once a session has had them all
    client: whether this process has been the client of a session
    failed: exit status of an exception that has passed through a session on its client's rank, 0 for none
    """

    def __init__(self) -> None:
        self.grace = 3.0
        self.rank: Rank | None = None
        self.failed = 0
        self.client = False
        self.sessions: list[Closable] = []
        self._pid = 0
        self._main: types.FrameType | None = None
        self._shutdown: Callable[[], None] = lambda: None
        self._hook = sys.excepthook

    def prepare(self) -> None:
        """Have the end of the interpreter go through here."""
        if self._pid == os.getpid():
            return
        self._pid = os.getpid()
        self._main = _outermost()
        self._shutdown = at_the_end_of_the_main_thread(self._at_end)
        self._hook = sys.excepthook
        sys.excepthook = self._report

    def os_exit(self, status: int) -> None:
        """End the run in order for ``os._exit()`` on the client's rank."""
        rank = self.sessions[-1].rank
        self._close(status)
        rank.leave(status)

    def fail(self, status: int) -> None:
        """Remember the exit status with which the script is about to be ended."""
        self.failed = status

    def end_by_force(self, session: Closable, status: int) -> None:
        """End the run, in another thread than the script's, which does not end: in order if all its ranks are ours."""
        leaves = session.exit and session.rank.world.whole
        self._close(status)
        if leaves:
            session.rank.leave(status)
        session.rank.world.abort(status)

    def _report(self, kind: type[BaseException], error: BaseException, trace: types.TracebackType | None) -> None:
        """Report an exception that nobody has caught: a user's mistake as one message, from one rank."""
        if not isinstance(error, MpidaskError):
            self._hook(kind, error, trace)
        elif not error.silent:
            sys.stderr.write(error.text())

    def _at_end(self) -> None:
        if os.getpid() != self._pid:  # a child that was forked
            self._shutdown()
            return
        status, self._main = _status(self._main), None  # whose globals are to be deleted by the interpreter
        try:
            self._depart(status)
        except Exception:  # noqa: BLE001 - whatever it is, no rank may be left behind
            traceback.print_exc()
            World.go(1)
        if not threads.left():  # the interpreter would wait for them
            self._shutdown()

    def _depart(self, status: int | None) -> None:
        for session in self.sessions:
            session.script_ended()
        given_up = interpreter_end.wind_down(self.grace)
        leaves = any(session.exit and session.rank.world.whole for session in self.sessions)
        status = (status or given_up) if given_up else status
        self._close(status)
        if self.rank is None or not self.rank.world.is_finalized():
            self._leave(self.rank, status, met=leaves, given_up=given_up)

    def _close(self, status: int | None) -> None:
        log_filters.silence()
        for session in self.sessions[::-1]:
            session.end(status)

    def _leave(self, rank: Rank | None, status: int | None, *, met: bool, given_up: int) -> None:
        """Leave together with the other ranks.

        rank:  this one of all ranks; None if no session has had them all, so that they cannot meet
        met:   whether they have met already
        given_up: exit status where threads were given up, which the interpreter would wait for; else 0
        """
        failed = self.failed if status is None else status
        if rank is None:
            World.go(failed)
            return
        world = rank.world
        if not met and not wait(world.meet(_OTHERS if failed else float("inf"))):
            what = f"rank {world.rank} on {world.host} has failed while other ranks wait for it; the run is ended"
            LostError(what).report()
            world.abort(failed)
        error = _uncaught()
        if isinstance(error, MpidaskError | KeyboardInterrupt):
            rank.leave(0 if isinstance(error, MpidaskError) and error.silent else failed)
        if given_up:
            rank.leave(failed)
        world.finalize(last=self.client and status != 0)


def _outermost() -> types.FrameType:
    frame = inspect.currentframe()
    assert frame is not None
    while frame.f_back is not None:
        frame = frame.f_back
    return frame


def _uncaught() -> BaseException | None:
    """Return the exception that ended the main module, if one did; SystemExit does not count."""
    error: BaseException | None = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    return error


def _status(main: types.FrameType | None) -> int | None:
    """Return the exit status with which the interpreter is about to end, None if it is not known: SystemExit's.

    main: frame of the main module, which has ended
    """
    error = _uncaught()
    if error is not None:
        own = error.status if isinstance(error, MpidaskError) else 1
        return main_module.INTERRUPTED if isinstance(error, KeyboardInterrupt) else own
    code: Any = main.f_code.co_code if main is not None else b""
    with contextlib.suppress(IndexError):
        if main is not None and dis.opname[code[main.f_lasti]].startswith("RETURN"):
            return 0
    return None


EXIT_HOOK = ExitHook()
