"""What the doctor says: findings, each with a level and, unless all is well, a remedy (pure)."""

from __future__ import annotations

import dataclasses
import enum
import shlex
import sys
from collections.abc import Collection, Iterable, Mapping
from typing import Any

__all__ = ["Finding", "Level", "by_value", "failure", "has_failure", "merged", "ok", "pip", "read", "warning"]


class Level(enum.StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the doctor's report.

    what:   what is so, with the values in question
    remedy: what to do about it; a line for each way
    probe:  the name of the probe, such as limits.memory
    where:  the nodes or ranks that it holds for; "" for this one
    """

    level: Level
    what: str
    remedy: str = ""
    probe: str = ""
    where: str = ""


def read(said: Mapping[str, Any]) -> Finding:
    """Return a finding of its fields as JSON has them."""
    return Finding(**{**said, "level": Level(said["level"])})


def pip(*words: str) -> str:
    """Return the command that has this interpreter's pip install something: another one may be first on PATH."""
    return shlex.join([sys.executable, "-m", "pip", "install", *words])


def ok(what: str) -> Finding:
    """Return that all is well."""
    return Finding(Level.OK, what)


def warning(what: str, remedy: str) -> Finding:
    """Return what slows a run down, or may do harm."""
    return Finding(Level.WARNING, what, remedy)


def failure(what: str, remedy: str) -> Finding:
    """Return what keeps a run from working."""
    return Finding(Level.FAILURE, what, remedy)


def has_failure(findings: Iterable[Finding]) -> bool:
    """Whether there is a failure among them."""
    return any(each.level is Level.FAILURE for each in findings)


def merged(findings: Iterable[Finding], everywhere: Mapping[str, Collection[str]] | None = None) -> list[Finding]:
    """Return findings without repetition: what is found in several places is one finding that names them all.

    everywhere: a word for all places of a kind -> these places; where there is but one the word is left out
    """
    places: dict[Finding, list[str]] = {}
    for each in findings:
        places.setdefault(dataclasses.replace(each, where=""), []).append(each.where)
    return [dataclasses.replace(each, where=_joined(where, everywhere or {})) for each, where in places.items()]


def by_value(values: Mapping[str, str]) -> str:
    """Return values in words, each with the places that have it; values: place -> value."""
    places: dict[str, list[str]] = {}
    for place, value in values.items():
        places.setdefault(value, []).append(place)
    return "; ".join(f"{value} on {_joined(where, {})}" for value, where in places.items())


def _joined(places: list[str], everywhere: Mapping[str, Collection[str]]) -> str:
    known = list(dict.fromkeys(filter(None, places)))
    for word, all_of_them in everywhere.items():
        if known and set(known) == set(all_of_them):
            return word if len(known) > 1 else ""
    more = f" and {len(known) - 4} more" if len(known) > 4 else ""
    return ", ".join(known[:4]) + more
