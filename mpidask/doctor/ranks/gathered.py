"""What is found of what all ranks of an MPI job have measured (pure)."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from mpidask.doctor.bounded import Measured
from mpidask.doctor.examination import together
from mpidask.doctor.finding import Finding, failure, merged, ok
from mpidask.doctor.probe import Scope, find
from mpidask.doctor.probes.files.clock import SKEW, outside, skewed
from mpidask.doctor.ranks import links

__all__ = ["findings", "places"]


def findings(result: Mapping[str, Any], trouble: str = "") -> Iterator[Finding]:
    """Yield what is found.

    result:  a line that rank 0 of `meeting` has printed
    trouble: what ended it, should that have been before it had measured the networks between nodes
    """
    ranks = {int(rank): about for rank, about in result["ranks"].items()}
    hosts = Counter(about["host"] for about in ranks.values())
    yield _named("mpi.meeting", ok(f"{len(ranks)} rank{'s' * (len(ranks) > 1)} met: {_counted(hosts)}"))
    yield from (_named("mpi.children", each) for each in _children(ranks))
    yield from (_named("clock", each) for each in _clocks(result, ranks))
    nodes = len({about["network"] for about in ranks.values()})
    tries = result["tries"]
    between = [links.unmeasured(trouble)] if tries is None else links.findings(tries, nodes)
    yield from (_named("network.links", each) for each in between)
    kinds = {"all nodes": hosts, "all ranks": [f"rank {rank} on {about['host']}" for rank, about in ranks.items()]}
    yield from merged(together(places(ranks)), kinds)


def _named(probe: str, finding: Finding) -> Finding:
    return dataclasses.replace(finding, probe=probe)


def _counted(hosts: Mapping[str, int]) -> str:
    shown = [f"{count} on {host}" for host, count in list(hosts.items())[:4]]
    return ", ".join(shown) + (f" and more on {len(hosts) - 4} other nodes" if len(hosts) > 4 else "")


def places(ranks: Mapping[int, Mapping[str, Any]]) -> dict[str, dict[str, Measured]]:
    """Return place -> probe -> what came of it: what every rank measures is of a rank, all else of a node."""
    found: dict[str, dict[str, Measured]] = {}
    for rank, about in ranks.items():
        for name, said in about["measured"].items():
            own = f"rank {rank} on {about['host']}" if find(name).scope is Scope.RANK else about["host"]
            found.setdefault(own, {})[name] = Measured(**said)
    return found


def _children(ranks: Mapping[int, Mapping[str, Any]]) -> Iterator[Finding]:
    wrong = {rank: about["child"] for rank, about in ranks.items() if about["child"]}
    if wrong:
        rank, said = next(iter(wrong.items()))
        yield failure(
            f"{len(wrong)} of {len(ranks)} ranks cannot start a child after MPI is up; rank {rank}: {said}",
            "load another MPI module or network library; with InfiniBand try: export RDMAV_FORK_SAFE=1",
        )
    else:
        yield ok("ranks can start other programs while MPI is up")


def _clocks(result: Mapping[str, Any], ranks: Mapping[int, Mapping[str, Any]]) -> Iterator[Finding]:
    """Find ranks that saw their clock outside of the time in which rank 0 knows that they have looked."""
    skews = {int(rank): outside(when, *result["span"]) for rank, when in result["clocks"].items()}
    wrong = {ranks[rank]["host"]: skew for rank, skew in skews.items() if abs(skew) > SKEW}
    for host, skew in wrong.items():
        yield skewed(f"the clock of {host}", skew, f"that of {ranks[0]['host']}")
    if not wrong and len({about["host"] for about in ranks.values()}) > 1:
        yield ok("the clocks of all nodes agree")
