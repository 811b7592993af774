"""How long it takes to import Dask's servers, as each process of a run does."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mpidask.doctor.finding import Finding, failure, ok, pip, warning
from mpidask.doctor.probe import Facts, Probe
from mpidask.doctor.time_limit import within

_SLOW = 15.0  # s
_LONGEST = 25.0  # of 60 s


def measure(_root: Path) -> dict[str, Any]:
    """Return the seconds of a first and of a second import, each in an interpreter of its own; None: not in time."""
    begun, longest = time.monotonic(), within(_LONGEST)
    seconds: list[float | None] = []
    for _ in range(2):
        left = longest - (time.monotonic() - begun)
        if seconds and (seconds[-1] is None or 2 * seconds[-1] > left):
            break
        took = _import(left)
        if isinstance(took, str):
            return {"seconds": seconds, "error": took, "longest": longest}
        seconds.append(took)
    return {"seconds": seconds, "error": "", "longest": longest}


def _import(longest: float) -> float | str | None:
    """Return how long an import takes, None for longer, or its error."""
    begun = time.monotonic()
    words = [sys.executable, "-c", "import distributed.nanny, distributed.scheduler"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=longest, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        return None
    if done.returncode != 0:
        return (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    return round(time.monotonic() - begun, 2)


def judge(facts: Facts) -> Iterator[Finding]:
    """Find imports that fail or take long."""
    seconds = facts["seconds"]
    if facts["error"]:
        yield failure(f"Dask cannot be imported: {facts['error']}", pip("distributed>=2025.1", "dask[array]"))
    elif seconds[-1] is None and facts["longest"] < _SLOW:
        yield warning(
            f"importing Dask takes more than {facts['longest']:.3g} s, which is all the time that there was",
            "look at this alone: mpidask doctor --probe python.imports",
        )
    elif seconds[-1] is None or seconds[-1] > _SLOW:
        took = f"more than {facts['longest']:.3g}" if seconds[-1] is None else f"{seconds[-1]:g}"
        yield warning(
            f"importing Dask takes {took} s", "copy the environment to a faster file system, or run with --import-cache"
        )
    else:
        again = f", again {seconds[1]:g} s" if len(seconds) > 1 else ""
        yield ok(f"importing Dask takes {seconds[0]:g} s{again}")


PROBE = Probe("imports", measure, judge, seconds=30)
