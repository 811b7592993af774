"""Measures for several probes side by side, each bounded, and makes findings of what came of it."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from mpidask.doctor.bounded import BoundedProcess, Measured, measuring, results
from mpidask.doctor.finding import Finding, Level, warning
from mpidask.doctor.probe import every, find
from mpidask.doctor.time_limit import share

__all__ = ["examine", "judged", "together"]

_AT_ONCE = 4  # processes that measure side by side, at most
_GLANCE = 0.02  # s between two looks


def examine(
    groups: Sequence[Sequence[str]],
    root: Path,
    seconds: float,
    show: Callable[[str, Measured], None] = lambda name, found: None,
) -> dict[str, Measured]:
    """Measure for groups of probes, a process for each group; return name -> what came of it.

    seconds: how long all of it may take; what has not begun by then is not measured
    show:    called as soon as something is known
    """
    running: list[tuple[BoundedProcess, list[str]]] = []
    found: dict[str, Measured] = {}
    try:
        for name, measured in _measured([list(each) for each in groups], running, root, seconds):
            found[name] = measured
            show(name, measured)
    finally:  # at Ctrl-C, too
        for process, _ in running:
            process.end()
    return found


def _measured(
    waiting: list[list[str]], running: list[tuple[BoundedProcess, list[str]]], root: Path, seconds: float
) -> Iterator[tuple[str, Measured]]:
    """Yield names of probes and what came of them; the processes that measure are in `running` meanwhile."""
    deadline = time.monotonic() + seconds
    while waiting or running:
        left = deadline - time.monotonic()
        while waiting and left > 0 and len(running) < min(_AT_ONCE, os.cpu_count() or 1):
            names = waiting.pop(0)
            running.append((_start(names, root, left), names))
        if left <= 0:
            none = Measured(None, f"no time was left of {seconds:.3g} s")
            yield from ((name, none) for names in waiting for name in names)
            waiting = []
        for process, names in [pair for pair in running if pair[0].has_ended]:
            running.remove((process, names))
            yield from results(process, names).items()
        time.sleep(_GLANCE)


def _start(names: Sequence[str], root: Path, left: float) -> BoundedProcess:
    """Start to measure for these probes within what they may take, and what is left of the time for all."""
    return measuring(names, root, min(share(sum(find(name).seconds for name in names)), left))


def judged(name: str, measured: Measured, where: str = "") -> list[Finding]:
    """Return the findings of a probe in one place (pure)."""
    probe = find(name)
    if measured.facts is None:
        level = probe.silence if measured.silent else Level.WARNING
        remedy = "run `mpidask doctor` again; if it repeats, report it with the output of `mpidask info`"
        given = [dataclasses.replace(warning(f"this could not be measured: {measured.trouble}", remedy), level=level)]
    else:
        given = list(probe.judge(measured.facts))
    return [dataclasses.replace(each, probe=name, where=each.where or where) for each in given]


def together(found: Mapping[str, Mapping[str, Measured]]) -> list[Finding]:
    """Return the findings of several places, and what differs between them (pure).

    found: place -> name of a probe -> what came of it
    """
    return [finding for name in every() for finding in _of_one(name, found)]


def _of_one(name: str, found: Mapping[str, Mapping[str, Measured]]) -> Iterable[Finding]:
    theirs = {place: measured[name] for place, measured in found.items() if name in measured}
    for place, measured in theirs.items():
        yield from judged(name, measured, place)
    facts = {place: measured.facts for place, measured in theirs.items() if measured.facts is not None}
    yield from (dataclasses.replace(each, probe=name) for each in find(name).compare(facts))
