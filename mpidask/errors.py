"""Every exception of mpidask, and the exit statuses that are mpidask's own.

::

    MpidaskError            what was wrong, what was expected, the remedy
    |-- UsageError          a command line, option or configuration that cannot be used   exit 2
    |   |-- WorldTooSmallException  there are not enough ranks (the name is dask_mpi's)     exit 1
    |   `-- ArgumentError     an argument of a cluster class that cannot be used          exit 2
    |-- StartupError        the cluster did not come up                                   exit 69
    |-- BatchError          the batch system refused a command or did not answer          exit 69
    |   |-- SilenceError      it did not answer in time                                   exit 69
    |   `-- UnclearError      whether it has taken a job is not known                     exit 69
    |-- TextOnlyError         --help or --version: a text is all that is wanted           exit 0
    |-- ShutdownError       a client shut the cluster down while it came up               exit 0
    |-- WalltimeError       the walltime ended the run                                    exit 75
    `-- LostError           the scheduler or the script's rank was lost during the run    exit 70

A user's mistake is reported as ``MpidaskError.text()``, never as a traceback. Errors and warnings end with the command
that prints what the documentation says of them, ``mpidask docs KEY``. KEY is a heading of
docs/howto/troubleshooting.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

__all__ = [
    "ArgumentError",
    "BatchError",
    "InterruptedStartError",
    "LostError",
    "MpidaskError",
    "ShutdownError",
    "SilenceError",
    "StartupError",
    "TextOnlyError",
    "UnclearError",
    "UsageError",
    "WalltimeError",
    "WorldTooSmallException",
    "as_mpidask_error",
    "caught",
    "linked",
    "warn",
    "warning_text",
]


def linked(text: str, key: str) -> str:
    """Return a text whose first line ends with the command that explains it."""
    first, newline, rest = text.partition("\n")
    said = first if first.endswith("..") else first.removesuffix(".")
    return f"{said}; more: mpidask docs {key}{newline}{rest}"


def warning_text(what: str, remedy: str = "", *, key: str) -> str:
    """Return the lines of a warning, after which a run goes on; parameters as of MpidaskError."""
    return _lines("warning", what, remedy, key)


def warn(what: str, remedy: str = "", *, key: str) -> None:
    """Print the same."""
    sys.stderr.write(warning_text(what, remedy, key=key))
    sys.stderr.flush()


def _lines(kind: str, what: str, remedy: str, key: str) -> str:
    said, *more = (what if remedy else linked(what, key)).splitlines()
    lines = [f"{kind}: {said}", *more, *(f"remedy: {line}" for line in _remedies(remedy, key))]
    return "".join(f"mpidask: {line}\n" for line in lines)


def _remedies(remedy: str, key: str) -> list[str]:
    *others, last = remedy.splitlines() or [""]
    return [*others, linked(last, key)] if last else others


class MpidaskError(Exception):
    """What was wrong, and on a line of its own what to do about it.

    Parameters
    ----------
    what : str
        What was wrong, with the value in question.
    remedy : str, default ""
        What to do about it; a line for each way.
    key : str, default ""
        The heading under which the documentation explains it; none: that of the class.

    Attributes
    ----------
    status : int
        The exit status of a command that ends with this error.
    silent : bool
        Whether another rank reports the error.

    Examples
    --------
    >>> str(MpidaskError("--nthreads is 0", "give a number from 1 up"))
    '--nthreads is 0'
    """

    status = 1
    silent = False  # another rank reports it

    def __init__(self, what: str, remedy: str = "", key: str = "") -> None:
        super().__init__(what, remedy)
        self.what = what
        self.remedy = remedy
        self.key = key or type(self).__name__
        if remedy:  # a traceback shows it
            self.add_note("remedy: " + "\n".join(_remedies(remedy, self.key)))

    def __str__(self) -> str:
        return self.what

    def text(self) -> str:
        """Return the lines to print.

        Returns
        -------
        str
            Lines that begin with ``mpidask: ``.
        """
        return _lines("error", self.what, self.remedy, self.key)

    def report(self) -> None:
        """Print it."""
        sys.stderr.write(self.text())


class TextOnlyError(MpidaskError):
    """A text is all that the command line asks for, such as --help: nothing has failed."""

    status = 0

    def report(self) -> None:
        """Print the text."""
        if self.what:
            print(self.what)


class UsageError(MpidaskError):
    """A command line, option or configuration that cannot be used."""

    status = 2


class WorldTooSmallException(UsageError, RuntimeError):  # noqa: N818 - dask_mpi's name
    """There are not enough ranks for what is asked for."""

    status = 1  # what scripts that come from dask_mpi are used to


class ArgumentError(UsageError, ValueError):
    """An argument of a cluster class that cannot be used; a ValueError, as dask-jobqueue has it."""


class StartupError(MpidaskError):
    """The cluster did not come up (EX_UNAVAILABLE of sysexits.h)."""

    status = 69


class BatchError(MpidaskError):
    """The batch system refused a command or did not answer (EX_UNAVAILABLE)."""

    status = 69


class SilenceError(BatchError):
    """The batch system did not answer in time."""


class UnclearError(BatchError):
    """Whether the batch system has taken a job is not known: to submit it again may be to submit it twice."""


class ShutdownError(MpidaskError):
    """A client shut the cluster down while it came up: nothing has failed."""

    status = 0

    def text(self) -> str:
        """Return the line to print."""
        return f"mpidask: {self.what}\n"


class InterruptedStartError(MpidaskError):
    """A signal came before the script began."""

    @classmethod
    def by(cls, number: int) -> InterruptedStartError:
        """Return the error for this signal, with its exit status."""
        error = cls("interrupted while starting")
        error.status = 128 + number
        return error

    def text(self) -> str:
        """Return the line to print."""
        return f"mpidask: {self.what}\n"


class WalltimeError(MpidaskError):
    """The walltime ended the run, in order (EX_TEMPFAIL of sysexits.h: the same again may succeed).

    Raised where too little time is left to start. In a running script it is the cause of a ``SystemExit`` with its
    status, which an ``except Exception`` around retries does not catch.
    """

    status = 75


class LostError(MpidaskError):
    """A part of the run that it cannot do without was lost (EX_SOFTWARE of sysexits.h)."""

    status = 70


def caught(function: Callable[[], Any]) -> Any:
    """Return a function's value, or what it raised as MpidaskError, so that all ranks learn of it."""
    try:
        return function()
    except Exception as error:  # noqa: BLE001 - whatever it is, rank 0 reports it
        return as_mpidask_error(error)


def as_mpidask_error(error: Exception) -> MpidaskError:
    """Return an error that can be sent and shown."""
    if isinstance(error, MpidaskError):
        return error
    cause: BaseException = error
    # Dask wraps what went wrong in "failed to start"; a cause without a text, such as a cancelled wait, is no reason.
    while cause.__cause__ is not None and str(cause.__cause__):
        cause = cause.__cause__
    what = ": ".join(filter(None, (type(cause).__name__, str(cause))))
    if not isinstance(error, ImportError):
        return StartupError(what)
    remedy = "check that this node has the same Python environment as the others"
    return StartupError(what, remedy, key="another-python-environment")
