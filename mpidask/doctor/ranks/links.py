"""What is found of the networks between nodes, of what they have tried (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mpidask.doctor.finding import Finding, failure, ok, warning

__all__ = ["findings", "taken", "unmeasured"]

#: What a node has tried: host that tries, host that listens, and what `network.Link` found.
Try = Mapping[str, Any]

_SLOW_RATE = 50e6  # bytes per s: less than half of gigabit ethernet
_SLOW_LATENCY = 0.005  # s

_PORTS = "ask your site which ports its firewall lets through between nodes, and give them: --port-range 40000:40100"


def taken(tries: Sequence[Try]) -> tuple[str, str] | None:
    """Return the first (interface, address) of the scheduler's node that all others reach; None for none."""
    mine = [each for each in tries if each["to_scheduler"]]
    for each in mine:
        if all(not other["error"] for other in mine if other["address"] == each["address"]):
            return each["interface"], each["address"]
    return None


def findings(tries: Sequence[Try], nodes: int) -> Iterator[Finding]:
    """Yield what is found of each interface, and which one a run takes.

    nodes: how many there are
    """
    if nodes == 1:
        yield ok("all ranks are on one node, and reach each other by loopback")
        return
    chosen = taken(tries)
    for name, theirs in _by_interface(tries).items():
        yield _of_interface(name, theirs, chosen)
    if chosen is None:
        yield failure(
            "no network connects all nodes", "name the interface that does with --interface (`ip addr` lists them)"
        )
    else:
        yield ok(f"a run takes {chosen[0]} ({chosen[1]})")


def unmeasured(why: str) -> Finding:
    """Return that all ranks have met, and it was not measured how their nodes reach each other."""
    return warning(
        f"the networks between nodes could not be measured: {why}",
        "give them more time: mpidask doctor --time-limit 3min",
    )


def _by_interface(tries: Sequence[Try]) -> dict[str, list[Try]]:
    found: dict[str, list[Try]] = {}
    for each in tries:
        found.setdefault(each["interface"], []).append(each)
    return found


def _of_interface(name: str, tries: Sequence[Try], chosen: tuple[str, str] | None) -> Finding:
    """Return what is found of an interface: the worst that a pair of nodes has met."""
    failed = [each for each in tries if each["error"]]
    if not failed:
        return _speed(name, tries)
    first = failed[0]
    pair = f"{first['host']} ({first['address']} port {first['port']}) from {first['from']}"
    more = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
    if first["host_answers"]:
        said = f"a firewall blocks connections over {name}: {pair}: {first['error']}{more}"
        return (warning if chosen and chosen[0] != name else failure)(said, _PORTS)
    said = f"{name} does not connect the nodes: {pair}: {first['error']}{more}"
    if chosen is None:
        return failure(said, "name the interface that connects them with --interface (`ip addr` lists them)")
    return warning(said, f"a run finds another one; for cluster classes name it: interface={chosen[0]!r}")


def _speed(name: str, tries: Sequence[Try]) -> Finding:
    measured = [each for each in tries if each["latency"] is not None and each["rate"] is not None]
    if not measured:
        return ok(f"{name}: all nodes reach each other; there was no time to measure how fast")
    rate, latency = min(each["rate"] for each in measured), max(each["latency"] for each in measured)
    said = f"{name}: {rate / 1e6:.0f} MB/s, round trip {latency * 1e6:.0f} µs (TCP, the worst of {len(measured)})"
    if rate < _SLOW_RATE or latency > _SLOW_LATENCY:
        return warning(f"slow network: {said}", "compare with another interface (--interface), and ask your site")
    return ok(said)
