"""What stands at the head of a run's record: how the run was started, and on what."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from mpidask import run_directory
from mpidask.config import Options, as_option
from mpidask.errors import StartupError
from mpidask.launch.cluster.layout import Layout
from mpidask.launch.cluster.run import Run
from mpidask.launch.comm.rank import Rank
from mpidask.launch.comm.world import World
from mpidask.launch.resources import walltime
from mpidask.launch.watchdog.launcher_environment import job_id
from mpidask.launch.watchdog.procfs import read_stat
from mpidask.version import __version__

if TYPE_CHECKING:
    from mpidask.configuration import Configured

__all__ = ["is_kept", "moments", "reserve"]


def is_kept(run: Run) -> bool:
    """Whether the run keeps a record, if it has a scheduler of its own."""
    return run.layout.joined is None and _directory(run.options, run.world) is not None


def _directory(options: Options, world: World) -> str | None:
    given = os.environ.get(run_directory.DIRECTORY) if world.whole else None
    return None if options.report == run_directory.NO_REPORT else options.report or given or None


def moments(rank: Rank, options: Options) -> tuple[float, ...]:
    """Return when this rank's process was started, and when MPI was up, in s since 1970; () without a record."""
    stat = None if _directory(options, rank.world) is None else read_stat(os.getpid())
    if stat is None:
        return ()
    node = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)  # when it was started
    return round(node + int(stat.born) / os.sysconf("SC_CLK_TCK"), 2), round(rank.up, 2)


def reserve(run: Run) -> tuple[str, dict[str, Any]] | None:
    """Return the file for the record of a run and its first line; None for no record.

    Raises StartupError for a directory of the user's in which there can be none.
    """
    chosen, directory = run.options.report, _directory(run.options, run.world)
    if directory is None:
        return None
    from mpidask.report import record  # here alone: most runs have none

    try:
        if chosen:
            os.makedirs(directory, mode=0o700, exist_ok=True)
        run.report = record.reserve(directory)
    except OSError as error:
        if not chosen:  # who writes the logs of ranks there says what is wrong
            return None
        raise StartupError(
            f"there can be no record of the run in {directory}: {error.strerror}",
            "name another directory with --report, or give --no-report",
        ) from None
    return run.report, {"kind": "run", "version": record.VERSION, **_header(run)}


def _header(run: Run) -> dict[str, Any]:
    layout, program = run.layout, run.invocation.program
    return {
        "t": time.time() - (time.monotonic() - run.begun),
        "mpidask": __version__,
        "program": None if program is None else [program.name, *program.arguments],
        "python": sys.executable,
        "job": job_id(os.environ),
        "directory": os.readlink("/proc/self/cwd"),
        "ranks": [
            {"rank": rank, "host": facts.host, "role": str(role), "began": facts.began}
            for rank, (facts, role) in enumerate(zip(layout.facts, layout.roles, strict=True))
        ],
        "workers": {str(worker.name): worker.rank for worker in layout.workers},
        "threads": sum(worker.nthreads for worker in layout.workers),
        "cores": _cores(layout),
        "nodes": list(dict.fromkeys(layout.hosts.values())),
        "ends": walltime.ends(),
        "network": layout.link,
        "options": _options(run.options),
    }


def _cores(layout: Layout) -> int:
    """Return the number of cores that the ranks may use."""
    nodes = defaultdict[str, set[int]](set)
    for facts in layout.facts:
        nodes[facts.node].update(facts.cores)
    return sum(map(len, nodes.values()))


def _options(options: Options) -> list[list[str]]:
    """Return the options that are not as by default: how each is typed, its value, and where it stands."""
    changed = [field for field in dataclasses.fields(Options) if getattr(options, field.name) != field.default]
    if not changed:
        return []
    from mpidask import configuration

    configured = configuration.read(options.profile)
    return [
        [as_option(field.name), str(getattr(options, field.name)), _origin(configured, field.name)] for field in changed
    ]


def _origin(configured: Configured, name: str) -> str:
    return configured.place("mpidask", name.replace("_", "-")) or "command line"
