"""What `mpidask doctor` does: on a login node, with a job, and on the ranks of an MPI job."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, NoReturn

from mpidask import run_directory
from mpidask.configuration import section
from mpidask.doctor import job, login, report, submission
from mpidask.doctor.finding import Finding, Level, warning
from mpidask.doctor.ranks import rank

if TYPE_CHECKING:
    from mpidask.batch.settings import JobOptions

__all__ = ["run"]


def run(
    options: JobOptions | None, patience: float, probes: Collection[str], typed: Sequence[str], *, as_json: bool
) -> int:
    """Look, and print what is found; return the exit status: 1 where there is a failure.

    options:  of the job that is to look, too; None for none
    patience: how long to wait for it, in s
    probes:   what to look at
    typed:    the words after `mpidask doctor`
    """
    inside = rank.is_inside(os.environ)
    with _unwound():
        found = rank.look(probes) if inside else _outside(options, patience, probes, typed)
    if found is None:  # the first rank reports
        return 0
    # Open MPI gives ranks a terminal, also where all that they print goes to a file.
    coloured = sys.stdout.isatty() and not inside and not os.environ.get("NO_COLOR")
    print(report.as_json(found) if as_json else report.text(found, coloured=coloured), flush=True)
    _leave(found)
    return found.status


@contextlib.contextmanager
def _unwound() -> Iterator[None]:
    """Have signals that end this process raise SystemExit, so that it first ends the processes that measure."""
    numbers = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) == signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, _exit)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def _exit(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)


def _outside(
    options: JobOptions | None, patience: float, probes: Collection[str], typed: Sequence[str]
) -> report.Report:
    begun = time.monotonic()
    found = login.look(probes)
    if options is None:
        return found
    if _is_silent(found, options.system):
        further = [_not_submitted()]
    else:
        further = job.through_a_job(options, patience, probes, typed, time.monotonic() - begun)
    return login.extended(found, further, time.monotonic() - begun)


def _is_silent(found: report.Report, system: str | None) -> bool:
    """Whether the batch system that jobs would go to does not answer: the probe asks the one of the configuration."""
    failed = any(each.probe == "batch.daemon" and each.level is Level.FAILURE for each in found.findings)
    return failed and system in (None, section("batch").get("system"))


def _not_submitted() -> Finding:
    remedy = "see the line batch system; --submit --system NAME tries another one"
    return dataclasses.replace(warning("no job is submitted: the batch system fails", remedy), probe="batch.submit")


def _leave(found: report.Report) -> None:
    """Leave what is found in the run directory, where this is a job of mpidask, for whoever has submitted it."""
    directory = os.environ.get(run_directory.DIRECTORY)
    if directory:
        path = os.path.join(directory, submission.FILE)
        try:
            with open(f"{path}.new", "w", encoding="utf-8") as file:
                file.write(report.as_json(found))
            os.rename(f"{path}.new", path)
        except OSError as error:
            sys.stderr.write(f"mpidask: these findings cannot be left in {path}: {error.strerror}\n")
