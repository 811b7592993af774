"""How a rank ends: in order, with nothing left behind, or else at its deadline."""

from __future__ import annotations

import contextlib
import signal
import sys
from typing import NoReturn

from mpidask.compat.python import run_exit_handlers
from mpidask.errors import LostError, warn
from mpidask.launch.cluster.run import Run
from mpidask.launch.comm.polling import End, wait
from mpidask.launch.comm.world import World
from mpidask.launch.watchdog import OTHERS, mark

__all__ = [
    "CLOSE",
    "KILL",
    "TERMINATED",
    "TERM_GRACE",
    "end_after_term",
    "leave_in_order",
    "lose_agent",
    "lost_servers",
    "own_status",
]

AGENT = 5.0  # s for an agent to close its servers: what nannies tell, the record, workers, scheduler
CLOSE = 1.5  # s for a worker to close by itself; a task that still runs then is given up
KILL = 8.0  # s after the script's end at which a rank's watchdog kills it
TERMINATED = 128 + signal.SIGTERM
END_GRACE = 8.0  # s in which the scheduler's rank may end a cluster without a script after another rank got SIGTERM
TERM_GRACE = 3.0  # s in which the script may end by itself after another rank got SIGTERM

_MEET = 6.5  # s after the script's end in which all ranks have to be ready to leave
_MEET_LONGER = 1.0  # s more for the others: the script's rank knows the exit status and is to be first


def lose_agent(run: Run, status: int) -> None:
    """Act on the end of the process with this rank's servers, which nobody has asked for."""
    if run.is_aborting:  # which has killed them
        return
    where = f"{lost_servers(run)} ended"
    if not run.hosts_scheduler:
        warn(f"{where} ({status}); the run goes on without its workers", key="lost-worker")
        return
    lost = LostError(f"{where} ({status}); the run ends")
    if status != lost.status:  # it has not said why itself
        sys.stderr.write(lost.text())
    run.is_lost = True
    run.abort(lost.status)


def lost_servers(run: Run) -> str:
    """Return how a message calls the process with this rank's servers."""
    return f"the process with this rank's servers, on rank {run.world.rank} on {run.world.host},"


def end_after_term(run: Run) -> NoReturn:
    """End the run, in which the script has had its time after this rank got SIGTERM."""
    where = f"rank {run.world.rank} ({run.layout.role}) on {run.world.host}"
    LostError(f"{where} got SIGTERM; the run ends").report()
    run.abort(TERMINATED)


def own_status(world: World, end: End) -> int:
    """Return the status that this rank leaves with after that end."""
    return (end.status or 0) if world.fails_together or end.sender == world.rank else 0


def leave_in_order(run: Run, status: int) -> NoReturn:
    """Leave together with all other ranks; the script's rank aborts the run if they do not come."""
    is_client = run.world.rank == run.layout.client
    with contextlib.suppress(Exception):
        run_exit_handlers()
    run.tidy()
    mark("tidy up")
    if wait(run.world.meet(_MEET if is_client else _MEET + _MEET_LONGER)):
        mark("wait for all ranks at the end", OTHERS)
        run.rank.leave(status)
    if is_client:
        warn("a rank did not end in time; the run is aborted", key="too-slow-to-end")
    run.world.abort(status)
