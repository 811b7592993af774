"""The doctor's report: lines for people, JSON for programs (pure)."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mpidask.doctor import finding
from mpidask.doctor.finding import Finding, Level, merged
from mpidask.doctor.probe import PROBES, find
from mpidask.version import __version__

__all__ = ["Report", "as_json", "read", "text"]

#: What is found by several processes together has no file of its own.
_TITLES = {
    "mpi.meeting": "MPI",
    "mpi.children": "child processes",
    "clock": "clocks",
    "network.links": "network",
    "batch.submit": "submit",
    "batch.status": "status",
    "batch.logs": "logs",
    "batch.cancel": "cancel",
}

_COLOURS = {Level.OK: "32", Level.WARNING: "33", Level.FAILURE: "31"}


@dataclasses.dataclass(frozen=True)
class Report:
    """All that was found.

    place:   where, in words
    seconds: how long it took
    profile: the lines of a profile; none where the doctor runs inside a job
    """

    place: str
    findings: tuple[Finding, ...]
    seconds: float
    profile: str = ""

    @property
    def status(self) -> int:
        """The exit status: 1 where there is a failure."""
        return int(any(each.level is Level.FAILURE for each in self.findings))


def text(report: Report, *, coloured: bool = False) -> str:
    """Return the lines for people."""
    lines = [f"mpidask {__version__} doctor, {report.place}"]
    for each in merged(report.findings):
        lines += _lines(each, coloured=coloured)
    counts = Counter(each.level for each in merged(report.findings))
    said = [f"{counts[level]} {_plural(level, counts[level])}" for level in reversed(Level) if counts[level]]
    lines.append(f"{', '.join(said)} in {report.seconds:.0f} s")
    if report.profile:
        lines += ["", "# A profile with what was found here, for ~/.config/dask/mpidask.yaml:", report.profile]
    return "\n".join(lines)


def _plural(level: Level, count: int) -> str:
    return str(level) + "s" * (level is not Level.OK and count != 1)


def _lines(finding: Finding, *, coloured: bool) -> Iterator[str]:
    label = f"{finding.level:<7}"
    label = f"\x1b[{_COLOURS[finding.level]}m{label}\x1b[0m" if coloured else label
    where = f" [{finding.where}]" if finding.where else ""
    what, *more = finding.what.splitlines()
    yield f"{label}  {_title(finding.probe):<15}  {what}{where}"
    yield from (f"{'':<26}{line}" for line in more)
    yield from (f"{'':<18}remedy: {line}" for line in finding.remedy.splitlines())


def _title(probe: str) -> str:
    room, _, name = probe.partition(".")
    return find(probe).title if name in PROBES.get(room, ()) else _TITLES.get(probe, probe)


def as_json(report: Report) -> str:
    """Return the same for programs."""
    said = {
        "version": __version__,
        "place": report.place,
        "healthy": report.status == 0,
        "seconds": round(report.seconds, 2),
        "findings": [{**dataclasses.asdict(each), "level": str(each.level)} for each in merged(report.findings)],
        "profile": report.profile,
    }
    return json.dumps(said, indent=2)


def read(said: str) -> tuple[str, Sequence[Finding]]:
    """Return place and findings of a report in JSON; raises ValueError."""
    found: Mapping[str, Any] = json.loads(said)
    return str(found["place"]), [finding.read(each) for each in found["findings"]]
