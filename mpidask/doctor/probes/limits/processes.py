"""How many processes and threads this user may have."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mpidask.doctor.finding import Finding, failure, ok, warning
from mpidask.doctor.probe import Facts, Probe
from mpidask.launch.resources.hardware import cgroup_directories, text_of

_LEAST, _ENOUGH = 64, 512  # threads that are to be left: a worker has about a dozen


def measure(root: Path) -> dict[str, Any]:
    """Return the limits on processes and threads, and how many there are, of the user and of each cgroup."""
    limits = []
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if soft != resource.RLIM_INFINITY and os.geteuid() != 0:  # which does not hold for root
        limits.append(["ulimit -u", soft, _threads_of_user(root)])
    for directory in cgroup_directories("pids", root):
        most, now = text_of(directory / "pids.max"), text_of(directory / "pids.current")
        if most.isdigit() and now.isdigit():
            limits.append([f"cgroup {directory.name or '/'}", int(most), int(now)])
    return {"limits": limits}


def _threads_of_user(root: Path) -> int:
    count = 0
    for entry in os.scandir(root / "proc"):
        if entry.name.isdigit():
            try:
                count += len(os.listdir(f"{entry.path}/task")) if entry.stat().st_uid == os.getuid() else 0
            except OSError:  # it has ended
                continue
    return count


def judge(facts: Facts) -> Iterator[Finding]:
    """Find limits that leave few."""
    left = [(most - now, source, most) for source, most, now in facts["limits"]]
    least, source, most = min(left, default=(_ENOUGH, "", 0))
    remedy = "end what you do not need, or ask your site to raise the limit (`ulimit -u`)"
    if least < _LEAST:
        yield failure(f"{max(least, 0)} more processes and threads are possible ({source}: {most})", remedy)
    elif least < _ENOUGH:
        yield warning(f"{least} more processes and threads are possible ({source}: {most})", remedy)
    else:
        yield ok(f"{least} more processes and threads are possible ({source})" if source else "processes: no limit")


PROBE = Probe("processes", measure, judge)
