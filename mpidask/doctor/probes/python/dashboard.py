"""Whether Dask's dashboard can be shown: bokeh and what it needs."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mpidask.doctor.finding import Finding, ok, pip, warning
from mpidask.doctor.probe import Facts, Probe, Scope

_LEAST = (3, 1)  # what distributed's dashboard needs: https://docs.dask.org/en/stable/install.html


def measure(_root: Path) -> dict[str, Any]:
    """Return the versions of the packages that draw the dashboard."""
    found = {}
    for name in ("bokeh", "jinja2"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def judge(facts: Facts) -> Iterator[Finding]:
    """Find a dashboard that would lack its pages; the page Ranks needs none of these packages."""
    remedy = pip("bokeh>=3.1", "jinja2")
    numbers = tuple(int(number) for number in re.findall(r"\d+", facts.get("bokeh", ""))[:2])
    if not facts.get("bokeh"):
        yield warning("bokeh is not installed: the dashboard has the page Ranks, and none of Dask's", remedy)
    elif numbers < _LEAST:
        yield warning(f"bokeh {facts['bokeh']} is too old for Dask's dashboard, which needs 3.1 or later", remedy)
    elif not facts.get("jinja2"):
        yield warning("jinja2 is not installed, which the dashboard needs", remedy)
    else:
        yield ok(f"bokeh {facts['bokeh']} for the dashboard")


PROBE = Probe("dashboard", measure, judge, scope=Scope.ONCE)
