"""What is left of the batch job's walltime, and what scripts want to be called before its end.

A job knows its end from the environment; the batch system's warning comes as a file that appears.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from mpidask import run_directory
from mpidask.errors import UsageError, WalltimeError
from mpidask.files import is_there

__all__ = [
    "CALLBACKS",
    "SHARED",
    "Clock",
    "check",
    "ends",
    "on_walltime",
    "spare_first_sigterm",
    "take_for_warning",
    "time_left",
]

C = TypeVar("C", bound=Callable[[], Any])

_SLURM = "SLURM_JOB_END_TIME"  # set by Slurm 22.05 and newer: seconds since 1970

#: Variables that all ranks must have; not every launcher takes them to other nodes.
SHARED = (run_directory.DIRECTORY, run_directory.END, run_directory.WARNING, run_directory.GRACE, _SLURM)

#: What is to be called when the walltime ends, in this order.
CALLBACKS: list[Callable[[], Any]] = []

_LEAST = 5.0  # s that a run needs to start, and to end in order
_LOOK = 1.0  # s between two looks for the batch system's warning
_LONGEST = 60.0  # s until the next look at the clock, which may be set meanwhile


def time_left() -> float | None:
    """Return the seconds until the walltime of the batch job ends.

    May be called everywhere: in the script, in tasks, without MPI. The end is known from ``MPIDASK_END_TIME`` (seconds
    since 1970), which ``mpidask submit`` sets, or else from Slurm.

    Returns
    -------
    float or None
        Seconds, never below 0; None if the end is not known.

    Raises
    ------
    UsageError
        ``MPIDASK_END_TIME`` is not a number.

    Examples
    --------
    >>> left = mpidask.time_left()
    >>> if left is not None and left < 300:
    ...     print("save and stop")
    """
    end = ends()
    return None if end is None else max(0.0, end - time.time())


def on_walltime(callback: C) -> C:
    """Have a function called, without arguments, when the walltime is about to end.

    It is called on the script's rank, in a thread of its own, as long before the end as ``--walltime-margin`` says (60
    s) or as soon as the batch system warns. Half of that time is for the callbacks, one after the other. Then the
    script is ended: ``SystemExit(75)`` is raised in its main thread, whatever that waits for. A callback that waits for
    the script lets it end by itself. On other ranks, and outside a run, nothing calls it.

    Parameters
    ----------
    callback : callable
        The function.

    Returns
    -------
    callable
        The same function, so that this can be used as a decorator.

    Examples
    --------
    >>> @mpidask.on_walltime
    ... def save():
    ...     print("saved")
    """
    CALLBACKS.append(callback)
    return callback


def ends(environ: Mapping[str, str] = os.environ) -> float | None:
    """Return when the walltime ends, in seconds since 1970; None if that is not known. Raises UsageError."""
    text = environ.get(run_directory.END, "").strip()
    if text:
        with contextlib.suppress(ValueError):
            if math.isfinite(end := float(text)):
                return end
        raise UsageError(
            f"{run_directory.END} is {text!r}", "the walltime's end in seconds since 1970 is needed there, or nothing"
        )
    text = environ.get(_SLURM, "")
    return float(text) if text.isdecimal() else None


def check() -> None:
    """Raise WalltimeError if there is no use in starting any more, UsageError for an end that cannot be read."""
    left = time_left()
    if left is not None and left < _LEAST:
        name = run_directory.END if os.environ.get(run_directory.END, "").strip() else _SLURM
        state = f"ends in {left:.0f} s: too late to start" if left else "is over"
        raise WalltimeError(
            f"the walltime {state}",
            f"ask for a longer one; if {name} is another job's, or older than the job's present limit: unset {name}",
        )


def take_for_warning() -> bool:
    """Take a SIGTERM for the batch system's warning, where it may be one: the job makes room for another after a while.

    Returns whether it is taken for that: the first one in a job whose script has said that there is a grace time.
    """
    warning = os.environ.get(run_directory.WARNING)
    if not warning or not os.environ.pop(run_directory.GRACE, ""):
        return False
    try:
        with open(warning, "a", encoding="ascii"):
            return True
    except OSError:
        return False


def spare_first_sigterm() -> None:
    """Have this process live through one SIGTERM, where it may be the batch system's warning; a second one ends it.

    Slurm sends it to all processes of a step, not only to the ranks.
    """
    if run_directory.GRACE in os.environ and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _spare)


def _spare(number: int, frame: object) -> None:
    take_for_warning()
    signal.signal(number, signal.SIG_DFL)


class Clock:
    """Tells when a run has to come to its end.

    margin: s before the end of the walltime, a quarter of what is left now if that is less; 0 for no clock
    """

    def __init__(self, margin: float) -> None:
        self._ends = ends()
        self._warning = os.environ.get(run_directory.WARNING)
        grace = os.environ.get(run_directory.GRACE, "")
        self._grace = float(grace) if grace.isdecimal() else float("inf")
        left = time_left()
        self.margin = margin if left is None else min(margin, left / 4)

    @property
    def runs(self) -> bool:
        """Whether there is anything to watch."""
        return self.margin > 0 and (self._ends is not None or bool(self._warning))

    @property
    def left(self) -> float:
        """Seconds until the walltime's end; infinite if that is not known."""
        return float("inf") if self._ends is None else max(0.0, self._ends - time.time())

    def is_due(self) -> bool:
        """Whether the end has come near, or the batch system has warned."""
        return self.left <= self.margin or bool(self._warning and is_there(self._warning))

    @property
    def room(self) -> float:
        """Seconds in which a run that is due has to come to its end: there are fewer where it makes room for another.

        Half of the grace time may have gone by when the batch system's warning is noticed.
        """
        return self.margin if self.left <= self.margin else min(self.margin, self._grace / 2)

    def pause(self) -> float:
        """Return the seconds until the next look."""
        return max(0.0, min(self.left - self.margin, _LOOK if self._warning else _LONGEST))

    def words(self) -> str:
        """Say how near the end is."""
        if self._ends is None:
            return "the batch system warns that the walltime ends"
        return f"the walltime ends in {self.left:.0f} s"
