"""The doctor outside of a job: all probes of a login node, and a profile of what they found."""

from __future__ import annotations

import dataclasses
import socket
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from mpidask.doctor import profile
from mpidask.doctor.bounded import Measured
from mpidask.doctor.examination import examine, judged
from mpidask.doctor.finding import Finding
from mpidask.doctor.measuring import measured
from mpidask.doctor.probe import Place, longest_first, names
from mpidask.doctor.report import Report
from mpidask.doctor.time_limit import share
from mpidask.errors import BatchError

__all__ = ["extended", "look", "profile_here"]

_LONGEST = 50.0  # of 60 s, for all probes


def look(only: Collection[str], root: Path = Path("/")) -> Report:
    """Return what is found on this node.

    only: the probes to run
    root: stands for /, so that recorded machines can be read
    """
    begun = time.monotonic()
    every = [name for name in names(Place.LOGIN) if name in only]
    found = examine([[name] for name in longest_first(every)], root, share(_LONGEST))
    return Report(
        place=f"login node {socket.gethostname()}",
        findings=tuple(_findings(every, found)),
        seconds=time.monotonic() - begun,
        profile=_profile(found) if {*profile.SOURCES} <= {*every} else "",
    )


def _profile(found: Mapping[str, Measured]) -> str:
    return profile.declared("ours", "\n".join(profile.lines("ours", _facts(found))))


def _findings(every: Sequence[str], found: Mapping[str, Measured]) -> list[Finding]:
    return [finding for name in every for finding in judged(name, found[name])]


def _facts(found: Mapping[str, Measured]) -> dict[str, Mapping[str, object]]:
    return {name: dict(each.facts) for name, each in found.items() if each.facts is not None}


def profile_here(name: str) -> str:
    """Return the lines of a profile with what is found on this machine; raises BatchError for a silent batch system."""
    facts = _facts({probe: measured(probe, Path("/")) for probe in profile.SOURCES})
    batch = facts.get("batch.daemon", {})
    if batch.get("error"):
        raise BatchError(str(batch["error"]), str(batch["remedy"]))
    return "\n".join(profile.lines(name, facts))


def extended(report: Report, findings: Sequence[Finding], seconds: float) -> Report:
    """Return a report with further findings, and the time that all took."""
    return dataclasses.replace(report, findings=(*report.findings, *findings), seconds=seconds)
