"""From the layout to what this rank's servers are told."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mpidask import run_directory
from mpidask.launch import walltime
from mpidask.launch.layout import Layout
from mpidask.launch.scratch import Scratch
from mpidask.launch.world import World
from mpidask.run_directory import Progress

if TYPE_CHECKING:
    from mpidask.launch.servers import SchedulerPlan, WorkersPlan

__all__ = ["scheduler_plan", "workers_plan"]


def scheduler_plan(world: World, layout: Layout) -> SchedulerPlan:
    """Return how this rank's scheduler is to listen; raises StartupError without a scratch directory."""
    from mpidask.launch.servers import SchedulerPlan

    options = layout.options
    if options.scheduler_file is not None:
        world.guardian.remove_if_holding(layout.run, options.scheduler_file)
    return SchedulerPlan(
        host=layout.address,
        port=options.scheduler_port or 0,
        protocol=options.protocol,
        dashboard_address=options.dashboard_address,
        directory=_scratch(world, layout),
        file=options.scheduler_file,
        run=layout.run,
        record=_record(world, layout),
    )


def workers_plan(world: World, layout: Layout, scheduler: str) -> WorkersPlan:
    """Return how this rank's workers are to be run; raises StartupError without a scratch directory.

    scheduler: its address, "" if it is not known yet
    """
    from mpidask.launch.servers import WorkersPlan

    options = layout.options
    return WorkersPlan(
        workers=layout.mine,
        scheduler=scheduler,
        host=layout.address,
        protocol=options.protocol,
        directory=_scratch(world, layout),
        nanny=options.nanny,
        worker_class=options.worker_class,
        worker_options=options.worker_options or {},
        timeout=layout.startup_timeout,
    )


def _record(world: World, layout: Layout) -> tuple[str, Progress] | None:
    """Return the run directory and what is to stand there; None without one, or for a part of the job's ranks."""
    directory = os.environ.get(run_directory.DIRECTORY)
    if not directory or not world.whole:
        return None
    names = {str(worker.name): worker.rank for worker in layout.workers}
    return directory, Progress(0, len(layout.workers), walltime.ends(), layout.client, names)


def _scratch(world: World, layout: Layout) -> str:
    """Return this rank's directory; make it at the first call."""
    if layout.scratch is None:
        layout.scratch = Scratch.make(layout.facts[world.rank].scratch, world.rank, world.segments)
        world.guardian.remove_later(layout.scratch.path)
    return layout.scratch.path
