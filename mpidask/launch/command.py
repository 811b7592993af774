"""A run of the `mpidask` command, as one rank goes through it: meet, take a role, leave."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import NoReturn

from mpidask import config
from mpidask.errors import LostError, MpidaskError, WorldTooSmallException
from mpidask.launch.cluster import rendezvous, teardown
from mpidask.launch.cluster.run import Invocation, Run
from mpidask.launch.comm.rank import Rank
from mpidask.launch.resources.roles import Role
from mpidask.launch.script import main_module
from mpidask.launch.watchdog.interruption import Interruption

__all__ = ["run"]


def run(rank: Rank, parse: Callable[[], Invocation], interruption: Interruption) -> NoReturn:
    """Take part in a run as this rank; ends the process with the run's exit status.

    parse:        reads the command line, on rank 0
    interruption: what ends this rank at a signal, until it has a role
    """
    met: Run | None = None
    try:
        met = rendezvous.meet(rank, functools.partial(_read, parse, rank.world.size))
        _take_role(met, interruption.over)
    except MpidaskError as error:
        (met or rank).tidy()
        rank.fail(error)
    except BaseException as error:  # noqa: BLE001 - a rank must never be left behind
        import traceback

        traceback.print_exc()
        lost = LostError(
            f"rank {rank.world.rank} on {rank.world.host} failed: {type(error).__name__}: {error}",
            "this is a defect of mpidask; please report it with the lines above and what `mpidask info` prints",
            key="report-a-defect",
        )
        lost.report()
        (met or rank).tidy()
        rank.world.abort(lost.status)


def _read(parse: Callable[[], Invocation], size: int) -> Invocation:
    """On rank 0: return what the user wants; raises WorldTooSmallException for a cluster without workers.

    size: number of ranks
    """
    invocation = parse()
    options, program = invocation.options, invocation.program
    if program is None and size == 1 and options.scheduler and not config.inclusive(options):
        raise WorldTooSmallException(
            "there is 1 rank, for the scheduler, and none for workers",
            "start more, such as mpirun -n 4, or let it host a worker as well with --inclusive-workers",
        )
    first = None if program is None else main_module.directory(program)  # here alone: it looks at the program's file
    return dataclasses.replace(invocation, path=() if first is None else (first,), has_client=program is not None)


def _take_role(run: Run, ready: Callable[[], None]) -> NoReturn:
    """Be what the layout says; ready: called when this rank's signals are its own."""
    if Role.CLIENT in run.layout.role:
        from mpidask.launch.script_rank import be_client

        be_client(run, ready)
    from mpidask.launch.cluster import waiting_rank

    if waiting_rank.only_waits(run):
        end = waiting_rank.attend(run, ready)
        teardown.leave_in_order(run, teardown.own_status(run.world, end))
    import asyncio  # which is large: ranks that wait do without

    asyncio.run(_serve_and_leave(run, ready), debug=False)  # of `python -X dev`: for the script alone
    raise AssertionError("unreachable")


async def _serve_and_leave(run: Run, ready: Callable[[], None]) -> NoReturn:
    import asyncio

    from mpidask.launch.cluster.server_rank import serve
    from mpidask.launch.cluster.standard_input import relay

    relaying = asyncio.ensure_future(relay(run))
    end = await serve(run, diverts=True, ready=ready)
    relaying.cancel()
    # From within the event loop, whose end might wait for threads.
    teardown.leave_in_order(run, teardown.own_status(run.world, end))
