"""How long the doctor and each part of it may take: a minute, or what the user grants."""

from __future__ import annotations

import os

__all__ = ["ALARM", "DEFAULT", "set_limit", "share", "within", "words"]

DEFAULT = 60.0  # s
ALARM = "MPIDASK_DOCTOR_ALARM"  # environment variable of a process that measures: the s after which it is ended
_VARIABLE = "MPIDASK_DOCTOR_SECONDS"  # for the processes that measure
_MARGIN = 0.8  # of the time that a process has: it also starts, and prints


def set_limit(seconds: float) -> None:
    """Have all parts take no longer than this together, in s."""
    os.environ[_VARIABLE] = f"{seconds:g}"


def share(seconds: float) -> float:
    """Return how long something may take that takes at most so many of 60 s."""
    return seconds * _limit() / DEFAULT


def within(seconds: float) -> float:
    """Return the share of so many of 60 s, or less where this process is ended before that."""
    return min(share(seconds), _MARGIN * float(os.environ.get(ALARM, "inf")))


def words() -> list[str]:
    """Return the words that set the same limit on the command line of another doctor."""
    return [] if _limit() == DEFAULT else ["--time-limit", f"{_limit():g}s"]


def _limit() -> float:
    return float(os.environ.get(_VARIABLE, DEFAULT))
