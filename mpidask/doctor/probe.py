"""`Probe`: what a file of `probes` declares, and where each is run."""

from __future__ import annotations

import dataclasses
import enum
import importlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from mpidask.doctor.finding import Finding, Level
from mpidask.errors import UsageError

__all__ = ["PROBES", "Facts", "Place", "Probe", "Scope", "chosen", "every", "find", "longest_first", "names"]

#: What a probe has measured: what JSON can hold.
Facts = Mapping[str, Any]


class Scope(enum.Enum):
    """Who runs a probe inside an MPI job."""

    RANK = "every rank"
    NODE = "one rank of each node"
    ONCE = "the first rank"


class Place(enum.Enum):
    """Where the doctor runs."""

    LOGIN = "outside of a job"
    JOB = "inside a job"


def _nothing(_facts: Mapping[str, Facts]) -> Iterable[Finding]:
    return ()


@dataclasses.dataclass(frozen=True)
class Probe:
    """One thing to look at.

    title:   what a line of the report begins with
    measure: reads facts from the machine; the path stands for /, so that recorded machines can be read
    judge:   makes findings of the facts (pure)
    compare: makes findings of the facts of several places, place -> facts (pure)
    places:  where it is run
    seconds: how long measuring may take
    silence: how bad it is if that takes longer
    """

    title: str
    measure: Callable[[Path], dict[str, Any]]
    judge: Callable[[Facts], Iterable[Finding]]
    compare: Callable[[Mapping[str, Facts]], Iterable[Finding]] = _nothing
    scope: Scope = Scope.NODE
    places: frozenset[Place] = frozenset(Place)
    seconds: float = 15.0
    silence: Level = Level.WARNING


#: Room -> its probes, in the order of the report.
PROBES: dict[str, tuple[str, ...]] = {
    "python": ("interpreter", "packages", "configuration", "bytecode", "imports", "dashboard"),
    "mpi": ("library", "several", "launcher", "start", "binding"),
    "limits": ("open_files", "processes", "memory", "shared_memory", "gpus"),
    "files": ("kinds", "space", "clock", "stale"),
    "network": ("interfaces", "ports", "tls", "proxies", "gateway"),
    "batch": ("daemon", "accounting"),
}


_LONG = ("python.imports", "mpi.start", "batch.daemon")


def find(name: str) -> Probe:
    """Return a probe by its name, such as limits.memory."""
    probe: Probe = importlib.import_module(f"mpidask.doctor.probes.{name}").PROBE
    return probe


def every() -> list[str]:
    """Return the names of all probes, in the order of the report."""
    return [f"{room}.{name}" for room, theirs in PROBES.items() for name in theirs]


def names(place: Place, scopes: Iterable[Scope] = tuple(Scope)) -> list[str]:
    """Return the names of the probes that are run there."""
    wanted = set(scopes)
    return [name for name in every() if place in find(name).places and find(name).scope in wanted]


def longest_first(chosen: Iterable[str]) -> list[str]:
    """Return probes in the order in which they are to begin: first those that may take long."""
    return sorted(chosen, key=lambda name: name not in _LONG)


def chosen(given: Iterable[str]) -> set[str]:
    """Return the probes that are meant by their names or those of their rooms, all for none; raises UsageError."""
    wanted = set(given)
    found = {name for name in every() if not wanted or {name, name.partition(".")[0]} & wanted}
    unknown = wanted - found - {name.partition(".")[0] for name in found}
    if unknown:
        raise UsageError(f"there is no probe {min(unknown)!r}", f"there are: {', '.join(every())}")
    return found
