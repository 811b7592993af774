"""The doctor inside mpirun, on each rank: it measures, then has a process meet the other ranks.

This process itself does not bring MPI up: an MPI that hangs or aborts is one of the faults to be found.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import json
import os
import shlex
import signal
import socket
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from mpidask import run_directory
from mpidask.doctor.bounded import BoundedProcess, Measured, words
from mpidask.doctor.examination import examine, judged
from mpidask.doctor.finding import Finding, failure
from mpidask.doctor.probe import Place, Scope, every, find, longest_first, names
from mpidask.doctor.ranks import gathered
from mpidask.doctor.report import Report
from mpidask.doctor.time_limit import share
from mpidask.launch.watchdog.launcher_environment import launcher_name, launcher_rank, launcher_size, local_rank

__all__ = ["is_inside", "look"]

_MEASURING, _MEETING = 20.0, 35.0  # of 60 s


def is_inside(environ: Mapping[str, str]) -> bool:
    """Whether this process is in a job: started by an MPI launcher, or by a job script of mpidask (pure)."""
    return launcher_name(environ) is not None or run_directory.DIRECTORY in environ


def look(only: Collection[str], root: Path = Path("/")) -> Report | None:
    """Return what is found on all ranks; None on all ranks but the first.

    only: the probes to run, besides what the ranks find out together
    """
    begun = time.monotonic()
    rank, size = launcher_rank(os.environ), launcher_size(os.environ)
    mine = _measured(rank, only, root)
    with _undisturbed():
        found = _met(mine, rank, size)
    if rank != 0:
        return None
    where = f"{size} rank{'s' * (size > 1)} of {launcher_name(os.environ) or 'a job'}"
    return Report(f"{where}, the first on {socket.gethostname()}", tuple(found), time.monotonic() - begun)


def _measured(rank: int, only: Collection[str], root: Path) -> dict[str, Measured]:
    """Measure what falls to this rank; what every rank measures it does in one process."""
    own = [name for name in names(Place.JOB, [Scope.RANK]) if name in only]
    scopes = [Scope.NODE] * (not local_rank(os.environ)) + [Scope.ONCE] * (rank == 0)
    alone = [[name] for name in longest_first(names(Place.JOB, scopes)) if name in only]
    return examine([own, *alone] if own else alone, root, share(_MEASURING))


def _met(mine: Mapping[str, Measured], rank: int, size: int) -> list[Finding]:
    """Meet the other ranks; return what is found of what all have measured, on the first rank."""
    about = {"measured": {name: dataclasses.asdict(each) for name, each in mine.items()}}
    process = BoundedProcess(words("ranks.meeting"), share(_MEETING), json.dumps(about), own_session=False)
    process.wait()
    in_time = process.ended_by_itself
    if rank == 0 and not in_time:
        # Not ended yet: some launchers then end all ranks, this one included, before it has reported.
        atexit.register(process.end)
        return list(_of_all(mine, process.printed, f"no answer within {share(_MEETING):g} s", size))
    status, printed, errors = process.end()
    return list(_of_all(mine, printed, _last_words(errors, status), size)) if rank == 0 else []


def _of_all(mine: Mapping[str, Measured], printed: str, trouble: str, size: int) -> Iterator[Finding]:
    """Yield what is found of the last line that was printed; trouble: what has ended it, unless it came to its end."""
    result = _parsed(printed)
    if result is None:
        yield from _alone(mine)
        yield _did_not_meet(trouble, size)
    else:
        yield from gathered.findings(result, trouble)


def _parsed(printed: str) -> dict[str, Any] | None:
    """Return what the last whole line holds, None for none."""
    for line in reversed(printed.splitlines()):
        with contextlib.suppress(ValueError):
            found: dict[str, Any] = json.loads(line)
            return found
    return None


def _alone(mine: Mapping[str, Measured]) -> Iterator[Finding]:
    """Yield what is found of what this rank has measured."""
    host = socket.gethostname()
    place = f"rank 0 on {host}"
    for name in filter(mine.__contains__, every()):
        yield from judged(name, mine[name], place if find(name).scope is Scope.RANK else host)


def _last_words(errors: str, status: int | None) -> str:
    """Return what an MPI that failed has said: the line that names the error, else the last one."""
    lines = [line.removeprefix("mpidask: ") for line in errors.splitlines() if line.strip()]
    named = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (named or lines[-1:] or [f"it ended with status {status}"])[0]


def _did_not_meet(why: str, size: int) -> Finding:
    remedy = (
        "use the mpirun of the MPI library that mpi4py loads (`mpidask doctor` without mpirun compares them), and see "
        f"what other ranks print: mpirun -n 2 {shlex.quote(sys.executable)} -m mpi4py.bench helloworld"
    )
    return dataclasses.replace(failure(f"the {size} ranks did not meet: {why}", remedy), probe="mpi.meeting")


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Go on at a SIGTERM, by which launchers end ranks beside one that failed: the report comes within a minute."""
    before = signal.signal(signal.SIGTERM, lambda *_: None)  # not SIG_IGN, which children would inherit
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
