"""Whether the configuration can be read, and what in it is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mpidask.doctor.finding import Finding, failure, ok
from mpidask.doctor.probe import Facts, Probe
from mpidask.errors import MpidaskError


def measure(_root: Path) -> dict[str, Any]:
    """Return what is wrong with the values that count, and how many files there are."""
    from mpidask import configuration
    from mpidask.batch import settings
    from mpidask.options.loading import load

    wrong: list[tuple[str, str]] = []
    checks: tuple[Callable[[], object], ...] = (lambda: load({}), lambda: settings.load({}))
    for check in checks:
        try:
            check()
        except MpidaskError as error:
            wrong.append((error.what, error.remedy))
    return {"wrong": wrong, "files": list(configuration.files()) if not wrong else []}


def judge(facts: Facts) -> Iterator[Finding]:
    """Find values that cannot be used."""
    for what, remedy in facts["wrong"]:
        yield failure(what, f"{remedy}\n`mpidask config check` prints all mistakes")
    if not facts["wrong"]:
        count = len(facts["files"])
        yield ok(f"{count} file{'s' * (count != 1)} of the configuration, no mistakes" if count else "the defaults")


PROBE = Probe("configuration", measure, judge)
