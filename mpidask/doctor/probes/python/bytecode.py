"""Whether Dask is compiled: without .pyc files every process compiles it anew."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mpidask.doctor.finding import Finding, ok, warning
from mpidask.doctor.probe import Facts, Probe

_PACKAGES = ("dask", "distributed", "mpidask")
_MOST = 200  # modules to look at of each package: on a slow file system each takes time


def measure(_root: Path) -> dict[str, Any]:
    """Return how many modules of each package there are, and how many of them are compiled."""
    import sys

    places = {name: importlib.util.find_spec(name) for name in _PACKAGES}
    folders = {name: os.path.dirname(str(spec.origin)) for name, spec in places.items() if spec is not None}
    return {
        "packages": {name: _count(Path(folder)) for name, folder in folders.items()},
        "site": os.path.dirname(folders.get("distributed", "")),
        "python": sys.executable,
    }


def _count(folder: Path) -> list[int]:
    """Return [modules, compiled modules] of a folder, those of tests left out."""
    modules = [each for each in sorted(folder.rglob("*.py")) if "tests" not in each.parts][:_MOST]
    compiled = [each for each in modules if os.path.exists(importlib.util.cache_from_source(str(each)))]
    return [len(modules), len(compiled)]


def judge(facts: Facts) -> Iterator[Finding]:
    """Find packages of which less than half is compiled: modules that nobody has imported yet are not."""
    bare = {name: counts for name, counts in facts["packages"].items() if 2 * counts[1] < counts[0]}
    if bare:
        said = ", ".join(f"{name} ({compiled} of {modules} modules)" for name, (modules, compiled) in bare.items())
        remedy = f"{facts['python']} -m compileall -q {facts['site']}"
        yield warning(f"no compiled bytecode (.pyc), so that every process compiles anew: {said}", remedy)
    else:
        yield ok("Dask and mpidask have compiled bytecode (.pyc)")


PROBE = Probe("bytecode", measure, judge)
