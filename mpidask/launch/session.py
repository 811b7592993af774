"""A run, as one rank goes through it: meet, take a role, leave."""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from mpidask.errors import LostError, MpidaskError
from mpidask.launch import ending
from mpidask.launch.layout import Layout, Parse, meet, settle
from mpidask.launch.roles import Role
from mpidask.launch.segments import segments_of
from mpidask.launch.world import World

__all__ = ["run"]


def run(world: World, argv: Sequence[str], parse: Parse) -> NoReturn:
    """Take part in the run as this rank; ends the process with the run's exit status."""
    layout = None
    world.own(segments_of("self", world.guardian.token))
    try:
        settled = settle(world, argv, parse)
        if isinstance(settled, str):
            _print_and_leave(world, settled)
        layout = meet(world, *settled)
        _take_role(world, layout)
    except MpidaskError as error:
        ending.tidy(world, layout)
        world.fail(error)
    except BaseException as error:  # noqa: BLE001 - a rank must never be left behind
        traceback.print_exc()
        lost = LostError(
            f"rank {world.rank} on {world.host} failed: {type(error).__name__}: {error}",
            "this is a defect of mpidask; please report it with the lines above",
        )
        sys.stderr.write(lost.text())
        ending.tidy(world, layout)
        world.abort(lost.status)


def _take_role(world: World, layout: Layout) -> NoReturn:
    if Role.CLIENT in layout.role:
        from mpidask.launch.scripting import be_client

        be_client(world, layout)
    else:
        from mpidask.launch.serving import be_server

        asyncio.run(be_server(world, layout))
    raise AssertionError("unreachable")


def _print_and_leave(world: World, text: str) -> NoReturn:
    if world.rank == 0 and text:
        print(text)
    world.leave(0)
