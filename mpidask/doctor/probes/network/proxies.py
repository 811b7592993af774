"""Whether variables send requests to a node's dashboard to a web proxy, which cannot reach it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mpidask.doctor.finding import Finding, ok, warning
from mpidask.doctor.probe import Facts, Probe, Scope

_NAMES = ("http_proxy", "https_proxy", "all_proxy", "ws_proxy", "wss_proxy")


def measure(_root: Path) -> dict[str, Any]:
    """Return the variables that are set, without what is secret in them, and what is exempt."""
    names = [spelled for name in _NAMES for spelled in (name, name.upper()) if os.environ.get(spelled)]
    exempt = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    return {
        "proxies": {name: urlsplit(os.environ[name]).hostname or "?" for name in names},
        "exempt": [each.strip() for each in exempt.split(",") if each.strip()],
        "host": socket.gethostname(),
    }


def judge(facts: Facts) -> Iterator[Finding]:
    """Find proxies from which this machine's own nodes are not exempt."""
    proxies, exempt = facts["proxies"], facts["exempt"]
    missing = [name for name in ("localhost", "127.0.0.1") if name not in exempt and "*" not in exempt]
    if proxies and missing:
        proxy = next(iter(proxies.values()))
        yield warning(
            f"{', '.join(proxies)} send requests through {proxy}, also those to {' and '.join(missing)}: "
            "dashboards and notebooks on this machine are not reached",
            f"export no_proxy={','.join([*exempt, *missing, facts['host']])}; or: unset {' '.join(proxies)}",
        )
    else:
        yield ok("a web proxy is set, and not for this machine" if proxies else "no proxy variables")


PROBE = Probe("proxies", measure, judge, scope=Scope.ONCE)
