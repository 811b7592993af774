"""What `mpidask doctor` does: on a login node, with a job, and on the ranks of an MPI job."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, NoReturn

from mpidask import run_directory
from mpidask.doctor import login, report, submission
from mpidask.doctor.ranks import rank

if TYPE_CHECKING:
    from mpidask.batch.settings import JobOptions

__all__ = ["run"]


def run(job: JobOptions | None, patience: float, probes: Collection[str], *, as_json: bool) -> int:
    """Look, and print what is found; return the exit status: 1 where there is a failure.

    job:      of the job that is to look, too; None for none
    patience: how long to wait for it, in s
    probes:   what to look at
    """
    inside = rank.is_inside(os.environ)
    with _unwound():
        found = rank.look(probes) if inside else _outside(job, patience, probes)
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


def _outside(job: JobOptions | None, patience: float, probes: Collection[str]) -> report.Report:
    begun = time.monotonic()
    found = login.look(probes)
    if job is None:
        return found
    further = list(submission.through_a_job(job, patience, probes))
    return login.extended(found, further, time.monotonic() - begun)


def _leave(found: report.Report) -> None:
    """Leave what is found in the run directory, where this is a job of mpidask, for whoever has submitted it."""
    directory = os.environ.get(run_directory.DIRECTORY)
    if directory:
        path = os.path.join(directory, submission.FILE)
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            file.write(report.as_json(found))
        os.rename(f"{path}.new", path)
