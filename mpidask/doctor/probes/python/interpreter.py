"""Which Python runs here, and whether it is the same on every node."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mpidask.doctor.finding import Finding, by_value, failure, ok
from mpidask.doctor.probe import Facts, Probe

_OLDEST = (3, 11)


def measure(_root: Path) -> dict[str, Any]:
    """Return version and path of the interpreter."""
    return {"version": platform.python_version(), "executable": sys.executable, "prefix": sys.prefix}


def judge(facts: Facts) -> Iterator[Finding]:
    """Find a Python that is too old."""
    numbers = tuple(int(part) for part in facts["version"].split(".")[:2])
    if numbers < _OLDEST:
        yield failure(f"Python {facts['version']} is too old", "make an environment with Python 3.11 or later")
    else:
        yield ok(f"Python {facts['version']}, {facts['executable']}")


def compare(found: Mapping[str, Facts]) -> Iterable[Finding]:
    """Find nodes with different interpreters."""
    versions = {place: str(facts["version"]) for place, facts in found.items()}
    if len({*versions.values()}) > 1:
        yield failure(
            f"nodes have different Pythons: {by_value(versions)}", "put the environment on a file system of all nodes"
        )


PROBE = Probe("Python", measure, judge, compare)
