"""A profile of this machine, of what the doctor's probes have measured (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["SOURCES", "declared", "lines"]

#: The probes whose facts it is made of.
SOURCES = ("batch.daemon", "network.interfaces", "files.kinds")

#: How interfaces of fast networks are called: InfiniBand, Slingshot, Omni-Path.
_FAST = ("ib", "hsn", "opa")


def lines(name: str, facts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the lines of a profile.

    facts: name of a probe -> what it has measured; what is missing is left open
    """
    batch, network, files = (facts.get(each) or {} for each in SOURCES)
    queues = f"  # there are: {', '.join(batch['queues'])}" if batch.get("queues") else ""
    found = list(dict.fromkeys(each for each, _ in network.get("found", ())))
    fast = network.get("chosen") or next((each for each in found if each.startswith(_FAST)), "")
    scratch = (files.get("scratch") or [""])[0]
    return [
        "about:",
        f"  title: {name}",
        "  ran:  # who has run it, and when",
        "batch:",
        f"  system: {batch.get('system') or ''}".rstrip(),
        f"  queue: {batch.get('default') or ''}{queues}".rstrip(),
        f"  account: {batch.get('account') or ''}".rstrip(),
        "jobqueue:",
        f"  interface: {fast}  # of workers; this node has: {', '.join(found)}".rstrip(),
        f"  # local-directory: {scratch}  # node-local space of this node".rstrip(),
    ]


def declared(name: str, body: str) -> str:
    """Return a profile as it stands in a file of the configuration."""
    indented = [f"      {line}" if line else "" for line in body.splitlines()]
    return "\n".join(["mpidask:", "  profiles:", f"    {name}:", *indented])
