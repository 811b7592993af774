"""Whether servers can listen on this node and be reached on it, on ports that may be used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mpidask.doctor.finding import Finding, failure, ok, warning
from mpidask.doctor.probe import Facts, Probe

_NEEDED = 20  # ports of a node's nannies and workers, a scheduler and a dashboard


def measure(_root: Path) -> dict[str, Any]:
    """Return the error of connecting to a server on each own address, and what is wrong with the port range."""
    from mpidask.addresses.interfaces import addresses
    from mpidask.config import ports
    from mpidask.doctor.ranks.network import own_answers
    from mpidask.options.loading import load

    options = load({})
    span = ports(options)
    short = span.shortage(_NEEDED) if span is not None else None
    every = [("lo", "127.0.0.1"), *addresses(options.interface)]
    return {
        "range": str(span) if span else "",
        "short": short.what if short else "",
        "errors": {f"{name} ({address})": own_answers(address, span) for name, address in every},
    }


def judge(facts: Facts) -> Iterator[Finding]:
    """Find addresses on which this node does not reach itself, and a range without enough free ports."""
    wrong = {name: error for name, error in facts["errors"].items() if error}
    for name, error in wrong.items():
        kind = failure if name.startswith("lo ") else warning
        yield kind(
            f"a server on {name} cannot be reached on its own node: {error}",
            "ask your site for the ports that its firewall lets through, and give them: --port-range 40000:40100",
        )
    if facts["short"]:
        yield warning(facts["short"], "give a wider range: --port-range FIRST:LAST")
    if not wrong and not facts["short"]:
        span = f" in {facts['range']}" if facts["range"] else ""
        yield ok(f"servers can listen{span} on {', '.join(facts['errors'])}")


PROBE = Probe("ports", measure, judge)
