"""How many files and connections a process may have open."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mpidask.doctor.finding import Finding, failure, ok, warning
from mpidask.doctor.probe import Facts, Probe, Scope

_NAMES = ("soft", "hard")
_LEAST = 1024  # a scheduler has several connections for each worker, a worker one for each other one


def measure(_root: Path) -> dict[str, Any]:
    """Return the soft and the hard limit, None for no limit."""
    return {name: _limit(value) for name, value in zip(_NAMES, resource.getrlimit(resource.RLIMIT_NOFILE), strict=True)}


def _limit(value: int) -> int | None:
    return None if value == resource.RLIM_INFINITY else value


def judge(facts: Facts) -> Iterator[Finding]:
    """Find limits that a cluster of some dozens of workers reaches; servers raise the soft one to the hard one."""
    soft, hard = facts["soft"], facts["hard"]
    if hard is not None and hard < _LEAST:
        yield failure(
            f"a process may have {hard} files open, and cannot raise that", "ask your site to raise `ulimit -Hn`"
        )
    elif soft is not None and soft < _LEAST:
        remedy = f"ulimit -n {_LEAST if hard is None else min(hard, 65536)}"
        yield warning(f"a process may have {soft} files open until it raises that itself", remedy)
    else:
        most = "any number of" if hard is None else str(hard)
        yield ok(f"a process may have {most} files open")


PROBE = Probe("open files", measure, judge, scope=Scope.RANK)
