"""Which network interfaces there are, and which one a run on several nodes would try first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mpidask.doctor.finding import Finding, failure, ok, warning
from mpidask.doctor.probe import Facts, Probe


def measure(_root: Path) -> dict[str, Any]:
    """Return the interfaces that may lead to other nodes, all there are, and the one that is configured."""
    from mpidask.addresses.interfaces import addresses, interfaces
    from mpidask.options.loading import load

    chosen = load({}).interface
    return {
        "found": [list(each) for each in addresses(None)],
        "chosen": chosen,
        "addresses": [list(each) for each in addresses(chosen)] if chosen else [],
        "all": interfaces(),
    }


def judge(facts: Facts) -> Iterator[Finding]:
    """Find a configured interface that is not there, and a node without a network."""
    chosen, found = facts["chosen"], facts["found"]
    if chosen and not facts["addresses"]:
        there = ", ".join(facts["all"])
        yield failure(
            f"the interface {chosen} that is configured has no IPv4 address here; there are: {there}",
            f"name another one: --interface {facts['all'][-1] if facts['all'] else 'NAME'}, or leave it out",
        )
    elif not found and not chosen:
        yield warning(
            f"no interface leads to other nodes; there are: {', '.join(facts['all']) or 'none'}",
            "run on one node, or name an interface with --interface (`ip addr` lists them)",
        )
    else:
        name, address = (facts["addresses"] or found)[0]
        others = ", ".join(each for each, _ in found if each != name)
        yield ok(f"{name} ({address}) is tried first{f'; also {others}' if others else ''}")


PROBE = Probe("interfaces", measure, judge)
