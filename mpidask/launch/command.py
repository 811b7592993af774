"""A run of the `mpidask` command, as one rank goes through it: meet, take a role, leave."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from mpidask import config
from mpidask.config import Options
from mpidask.errors import LostError, MpidaskError, WorldTooSmallException
from mpidask.launch.cluster import discovery, teardown
from mpidask.launch.cluster.layout import Layout, meet, settle
from mpidask.launch.comm.world import World
from mpidask.launch.imports import import_sharing
from mpidask.launch.resources import walltime
from mpidask.launch.resources.roles import Role
from mpidask.launch.script import main_module
from mpidask.launch.script.main_module import Program
from mpidask.launch.watchdog.shared_memory import segments_of

if TYPE_CHECKING:
    from mpidask.launch.watchdog.interruption import Interruption
    from mpidask.launch.watchdog.script_process import ScriptProcess

__all__ = ["Invocation", "run"]


@dataclasses.dataclass(frozen=True)
class Invocation:
    """What the user has asked for on the command line.

    program: None for scheduler and workers alone
    path:    first entries of sys.path for servers and workers: the program's
    """

    options: Options
    program: Program | None
    path: tuple[str, ...] = ()


def run(
    world: World, read: Callable[[], Invocation | str], interruption: Interruption, script: ScriptProcess | None = None
) -> NoReturn:
    """Take part in the run as this rank; ends the process with the run's exit status.

    read:   reads the command line, on rank 0; returns a text if that is only to be printed
    interruption: what ends this rank at a signal, until it has a role
    script: the process started for the script, should this be the rank that runs it
    """
    layout = None
    world.own(segments_of("self", world.watchdog.token))
    try:
        invocation = settle(world, lambda: _in_time(read()))
        if isinstance(invocation, str):
            _print_and_leave(world, invocation)
        _check_ranks(world, invocation)
        world.imports = import_sharing.share(world, invocation.options)
        joined = discovery.locate(world, invocation.options)
        layout = meet(world, invocation.options, with_client=invocation.program is not None, joined=joined)
        layout.path = invocation.path
        _take_role(world, layout, invocation, script, interruption.over)
    except MpidaskError as error:
        teardown.tidy(world, layout)
        world.fail(error)
    except BaseException as error:  # noqa: BLE001 - a rank must never be left behind
        traceback.print_exc()
        lost = LostError(
            f"rank {world.rank} on {world.host} failed: {type(error).__name__}: {error}",
            "this is a defect of mpidask; please report it with the lines above",
        )
        sys.stderr.write(lost.text())
        teardown.tidy(world, layout)
        world.abort(lost.status)


def _in_time(invocation: Invocation | str) -> Invocation | str:
    """Return what was asked for; raises WalltimeError if there is no time left for it."""
    if not isinstance(invocation, str):
        walltime.check()
        invocation = dataclasses.replace(
            invocation, path=_path(invocation.program)
        )  # here alone: it looks at the program's file
    return invocation


def _check_ranks(world: World, invocation: Invocation) -> None:
    if (
        invocation.program is None
        and world.size == 1
        and invocation.options.scheduler
        and not config.inclusive(invocation.options)
    ):
        raise WorldTooSmallException(
            "there is 1 rank, for the scheduler, and none for workers",
            "start more, such as mpirun -n 4, or let it host a worker as well with --inclusive-workers",
        )


def _take_role(
    world: World, layout: Layout, invocation: Invocation, script: ScriptProcess | None, ready: Callable[[], None]
) -> NoReturn:
    """Be what the layout says; ready: called when this rank's signals are its own."""
    if Role.CLIENT in layout.role and invocation.program is not None:
        from mpidask.launch.script_rank import be_client

        be_client(world, layout, invocation.program, script, ready)
    if script is not None:
        script.discard()
    asyncio.run(_serve_and_leave(world, layout, ready), debug=False)  # of `python -X dev`: for the script alone
    raise AssertionError("unreachable")


async def _serve_and_leave(world: World, layout: Layout, ready: Callable[[], None]) -> NoReturn:
    from mpidask.launch.cluster.server_rank import serve
    from mpidask.launch.cluster.standard_input import relay

    relaying = asyncio.ensure_future(relay(world, layout))
    end = await serve(world, layout, diverts=True, ready=ready)
    relaying.cancel()
    # From within the event loop, whose end might wait for threads.
    teardown.leave_in_order(world, layout, teardown.own_status(world, end))


def _path(program: Program | None) -> tuple[str, ...]:
    """Return what the script has first on its sys.path."""
    first = None if program is None else main_module.directory(program)
    return () if first is None else (first,)


def _print_and_leave(world: World, text: str) -> NoReturn:
    if world.rank == 0 and text:
        print(text)
    world.leave(0)
