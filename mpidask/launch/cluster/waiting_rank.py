"""A rank whose workers another rank of its node hosts: it sleeps, and leaves with the others.

There are many of them. So it imports as little as it can: no event loop, nothing of servers.
"""

from __future__ import annotations

import signal
from collections.abc import Callable

from mpidask.launch.cluster import teardown
from mpidask.launch.cluster.announce import StartupProgress
from mpidask.launch.cluster.contact import share_scheduler
from mpidask.launch.cluster.run import Run
from mpidask.launch.comm.polling import End, wait
from mpidask.launch.watchdog import OTHERS, mark

__all__ = ["attend", "only_waits"]


def only_waits(run: Run) -> bool:
    """Whether this rank has nothing else to do."""
    layout = run.layout
    needed = {0, layout.scheduler, layout.client, layout.reporting_rank}  # rank 0 has the standard input
    return layout.joined is None and not layout.mine and run.world.rank not in needed


def attend(run: Run, ready: Callable[[], None]) -> End:
    """Take part in the start and in the end; return who announced the end.

    ready: called when signals are this rank's own
    Raises StartupError, on all ranks, if the cluster does not come up.
    """
    run.rank.early.discard()
    _take_signals(run)
    ready()
    world = run.world
    try:
        wait(share_scheduler(run, None))
        mark("wait for the scheduler", OTHERS)
        wait(world.agree({}, StartupProgress(run.layout).policy))
        mark("wait for workers", OTHERS)
        wait(world.share(None, run.layout.reporting_rank))  # the dashboard's link
        run.drop_imports()
        end = wait(world.await_end(), world.wakeup)
        mark("the run", OTHERS)
    finally:  # it ends in order now, also if SIGTERM has come
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_REAL, 0)
    run.watchdog.end_within(teardown.KILL)
    return end


def _take_signals(run: Run) -> None:
    """Leave signals to the script's rank: mpirun and batch systems send them to all ranks."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, lambda number, frame: teardown.end_after_term(run))
    signal.signal(signal.SIGTERM, lambda number, frame: _on_term())


def _on_term() -> None:
    from mpidask.launch.resources import walltime

    if not walltime.take_for_warning():
        signal.setitimer(signal.ITIMER_REAL, teardown.TERM_GRACE)
