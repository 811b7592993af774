"""Whether a session of JupyterHub or Open OnDemand can show the dashboard."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mpidask.doctor.finding import Finding, ok, pip, warning
from mpidask.doctor.probe import Facts, Probe, Scope

_PACKAGE = "jupyter-server-proxy"


def measure(_root: Path) -> dict[str, Any]:
    """Return which of them this session is of, whether its proxy is installed, and which link is configured."""
    import dask.config

    from mpidask.dashboard.links import STANDARD

    try:
        version = importlib.metadata.version(_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        version = ""
    ondemand = [name for name in os.environ if name.startswith(("OOD_", "ONDEMAND_"))]
    return {
        "hub": os.environ.get("JUPYTERHUB_SERVICE_PREFIX", ""),
        "ondemand": bool(ondemand) or "/ondemand/" in os.environ.get("JUPYTER_CONFIG_DIR", ""),
        "proxy": version,
        "link": str(dask.config.get("distributed.dashboard.link", STANDARD)),
        "standard": STANDARD,
    }


def judge(facts: Facts) -> Iterator[Finding]:
    """Find a session behind a web proxy that cannot show the dashboard."""
    name = "JupyterHub" if facts["hub"] else "Open OnDemand" if facts["ondemand"] else ""
    if not name:
        yield ok("this is no session of JupyterHub or Open OnDemand; `mpidask dashboard JOB` opens a tunnel")
    elif facts["link"] != facts["standard"]:
        yield ok(f"{name}: the dashboard's link is configured as {facts['link']}")
    elif not facts["proxy"]:
        yield warning(
            f"this is a session of {name}, and {_PACKAGE} is not installed here: links to the dashboard lead nowhere",
            f"{pip(_PACKAGE)}; or configure distributed.dashboard.link (docs/howto/jupyterhub.md)",
        )
    else:
        yield ok(f"{name}, with {_PACKAGE} {facts['proxy']}")


PROBE = Probe("web proxy", measure, judge, scope=Scope.ONCE)
