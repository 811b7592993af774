"""Whether this node's clock agrees with those of its file servers, and with other nodes'."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mpidask.doctor.finding import Finding, failure, ok, warning
from mpidask.doctor.probe import Facts, Probe

SKEW, MUCH = 2.0, 300.0  # s


def measure(_root: Path) -> dict[str, Any]:
    """Return by how much the time of a new file in each place differs from the clock, in s."""
    places = {"home": os.path.expanduser("~"), "working directory": os.getcwd()}
    return {"skews": {name: skew for name, path in places.items() if (skew := _skew(path)) is not None}}


def _skew(path: str) -> float | None:
    """Return how far a new file's time is outside of the time in which it was made; None if none can be made."""
    try:
        before = time.time()
        with tempfile.NamedTemporaryFile(prefix=".mpidask-doctor-", dir=path) as file:
            file.write(b"x")
            file.flush()
            stamp = os.stat(file.name).st_mtime
    except OSError:
        return None
    return outside(stamp, before, time.time())


def outside(stamp: float, first: float, last: float) -> float:
    """Return how far a time is before or after a span, 0 within it (pure)."""
    return round(min(stamp - first, 0.0) + max(stamp - last, 0.0), 2)


def judge(facts: Facts) -> Iterator[Finding]:
    """Find clocks that differ: certificates are not valid yet, and ages of files and jobs are wrong."""
    wrong = {name: skew for name, skew in facts["skews"].items() if abs(skew) > SKEW}
    for name, skew in wrong.items():
        yield skewed(f"the clock of the file server of {name}", skew, "this node's")
    if not wrong:
        yield ok("the clock agrees with the file servers'" if facts["skews"] else "no file server was asked")


def skewed(whose: str, skew: float, other: str) -> Finding:
    """Return that a clock is ahead of another one by so many s, or behind."""
    said = f"{whose} is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} {other}"
    remedy = (
        "ask your site to synchronise clocks: `chronyc tracking` or `timedatectl` on the node shows how they are set"
    )
    return failure(said, remedy) if abs(skew) > MUCH else warning(said, remedy)


PROBE = Probe("clock", measure, judge)
