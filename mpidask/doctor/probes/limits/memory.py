"""How much memory processes may have here: of the node, cgroups, the batch system and ulimit."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mpidask.doctor.finding import Finding, failure, ok, warning
from mpidask.doctor.probe import Facts, Probe
from mpidask.launch.watchdog.launcher_environment import local_size

_GIB = 2**30
_BARE = 0.2 * _GIB  # what a process that has imported Dask takes, with some room
_LOW = 1.5 * _GIB  # what is too little for a scheduler and a worker with data


def measure(root: Path) -> dict[str, Any]:
    """Return every limit that holds here, in bytes, with its source; the node's first."""
    from mpidask.launch.resources.hardware import memory_limits

    limits = [[limit.amount, limit.source] for limit in memory_limits(os.environ, root)]
    return {"limits": limits, "ranks": local_size(os.environ) or 1}


def judge(facts: Facts) -> Iterator[Finding]:
    """Find a limit that is too low for Dask's processes."""
    amount, source = min(facts["limits"])
    total = facts["limits"][0][0]
    said = f"{amount / _GIB:.1f} GiB of memory" + (f" of {total / _GIB:.1f} ({source})" if amount < total else "")
    remedy = "ask for more: mpidask submit --memory-per-node 16GiB; in a shell: `ulimit -v`, or the site's limit"
    if amount < _BARE * (facts["ranks"] + 2):
        processes = facts["ranks"] + 2
        yield failure(f"{said}, which is too little for {processes} processes with Dask", remedy)
    elif amount < _LOW:
        yield warning(f"{said}: workers have little room for data", remedy)
    else:
        yield ok(said)


PROBE = Probe("memory", measure, judge)
