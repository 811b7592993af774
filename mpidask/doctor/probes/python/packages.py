"""Which packages are installed: whether they are what mpidask needs, and the same on every node."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mpidask.doctor.finding import Finding, by_value, failure, ok, pip
from mpidask.doctor.probe import Facts, Probe

_SHOWN = ("mpidask", "dask", "distributed", "mpi4py", "numpy", "pandas", "bokeh", "click", "cloudpickle", "msgpack")

#: Packages that must be of one version on all nodes: they speak to each other.
_SPEAKING = ("mpidask", "dask", "distributed", "cloudpickle", "msgpack", "numpy", "pandas")


def measure(_root: Path) -> dict[str, Any]:
    """Return the versions of packages, and what mpidask needs."""
    needed = [each for each in importlib.metadata.requires("mpidask") or () if "extra ==" not in each]
    names = {*_SHOWN, *(re.split(r"[^\w.-]", each)[0] for each in needed)}
    return {"versions": {name: _version(name) for name in sorted(names)}, "needed": needed}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def judge(facts: Facts) -> Iterator[Finding]:
    """Find packages that are missing or too old."""
    versions = facts["versions"]
    lacking = [finding for each in facts["needed"] if (finding := _lacking(each, versions)) is not None]
    yield from lacking
    if not lacking:
        said = ", ".join(f"{name} {versions[name]}" for name in _SHOWN[:4] if versions.get(name))
        yield ok(said)


def _lacking(requirement: str, versions: Mapping[str, str | None]) -> Finding | None:
    """Return what is wrong with a package, None if it is as it is needed."""
    name, least = re.split(r"[^\w.-]", requirement)[0], re.search(r">=\s*([\d.]+)", requirement)
    found = versions.get(name)
    if found is None:
        return failure(f"{name} is not installed", pip(requirement))
    if least is not None and _numbers(found) < _numbers(least[1]):
        return failure(f"{name} is {found}, and mpidask needs {least[1]} or later", pip(requirement))
    return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def compare(found: Mapping[str, Facts]) -> Iterable[Finding]:
    """Find packages that differ between nodes."""
    for name in _SPEAKING:
        versions = {place: facts["versions"].get(name) or "missing" for place, facts in found.items()}
        if len(set(versions.values())) > 1:
            yield failure(
                f"{name} differs between nodes: {by_value(versions)}",
                "put the environment on a file system that all nodes share",
            )


PROBE = Probe("packages", measure, judge, compare)
