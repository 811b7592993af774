"""From the layout to what this rank's servers are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpidask.launch.layout import Layout
from mpidask.launch.scratch import Scratch
from mpidask.launch.world import World

if TYPE_CHECKING:
    from mpidask.launch.servers import SchedulerPlan, WorkersPlan

__all__ = ["scheduler_plan", "workers_plan"]


def scheduler_plan(layout: Layout) -> SchedulerPlan:
    """Return how this rank's scheduler is to listen."""
    from mpidask.launch.servers import SchedulerPlan

    return SchedulerPlan(layout.address, layout.options.protocol, layout.options.dashboard_address)


def workers_plan(world: World, layout: Layout, scheduler: str) -> WorkersPlan:
    """Make this rank's scratch directory and return its workers; raises StartupError if that cannot be made.

    scheduler: its address, "" if it is not known yet
    """
    from mpidask.launch.servers import WorkersPlan

    layout.scratch = Scratch.make(layout.facts[world.rank].scratch, world.rank)
    world.guardian.remove_later(layout.scratch.path)
    options = layout.options
    return WorkersPlan(
        workers=layout.mine,
        scheduler=scheduler,
        host=layout.address,
        protocol=options.protocol,
        directory=layout.scratch.path,
        nanny=options.nanny,
        worker_class=options.worker_class,
        timeout=layout.startup_timeout,
    )
