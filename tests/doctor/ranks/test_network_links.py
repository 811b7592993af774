"""How nodes try the networks between them: all connections at once, then few at a time."""

from __future__ import annotations

import json
import socket
import threading
from collections import Counter

import pytest

from mpidask.doctor.finding import Level
from mpidask.doctor.ranks import links, meeting, network, rank
from mpidask.doctor.ranks.network import Link, Targets

pytestmark = pytest.mark.one_mpi


@pytest.fixture
def target():
    """Listen on the loopback."""
    targets = Targets([("lo", "127.0.0.1")])
    yield targets.offers[0]
    targets.close()


def test_latency_and_rate_are_measured(target):
    link = Link(target)
    link.connect()
    link.time_round_trips()
    link.send()
    link.close()
    found = link.found()
    assert (found["interface"], found["address"], found["error"]) == ("lo", "127.0.0.1", "")
    assert found["latency"] > 0
    assert found["rate"] > 1e6


def test_a_network_that_takes_little_is_slow_and_no_error(monkeypatch):
    monkeypatch.setattr(network, "_TIMEOUT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:  # which reads nothing
        link = Link(("lo", *server.getsockname()))
        link.connect()
        link.send()
        link.close()
    assert link.error == ""
    assert link.rate > 0


def test_a_port_where_nobody_listens_is_refused():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen: nobody else gets the port
        link = Link(("lo", *taken.getsockname()))
        network.connect([link])
        link.time_round_trips()
        link.send()
    found = link.found()
    assert (found["error"], found["host_answers"]) == ("Connection refused", True)
    assert (found["latency"], found["rate"]) == (None, None)


def test_connections_are_tried_at_once():
    """Each address that does not answer takes seconds: one after the other, they take more than there is."""
    all_of_them = threading.Barrier(6)

    class Silent(Link):
        def connect(self):
            all_of_them.wait(20)

    network.connect([Silent(("ib0", "10.0.0.1", 1)) for _ in range(6)])
    assert not all_of_them.broken


def test_no_link_carries_more_than_one_measurement_each_way():
    for number in (2, 3, 40):
        heads = [10 * node for node in range(number)]
        pairs = {head: meeting.partners(heads, head) for head in heads}
        measured = [
            (head, other) for head, others in pairs.items() for other, is_measured in others.items() if is_measured
        ]
        assert {Counter(sender for sender, _ in measured)[head] for head in heads} == {1}
        assert {Counter(receiver for _, receiver in measured)[head] for head in heads} == {1}
        assert all(0 in others for head, others in pairs.items() if head), "each connects to the scheduler's node"
        assert meeting.partners(heads, 5) == {}


def test_connections_that_were_not_measured_say_nothing_of_speed():
    good = {"interface": "ib0", "address": "10.0.0.1", "error": "", "host_answers": True, "port": 1, "host": "n1"}
    connected = {**good, "from": "n3", "to_scheduler": True, "latency": None, "rate": None}
    measured = {**good, "from": "n2", "to_scheduler": True, "latency": 1e-5, "rate": 1e9}
    first, *_ = links.findings([connected, measured], 3)
    assert (first.level, first.what) == (Level.OK, "ib0: 1000 MB/s, round trip 10 µs (TCP, the worst of 1)")
    first, *_ = links.findings([connected], 3)
    assert (first.level, "no time to measure" in first.what) == (Level.OK, True)


def test_what_the_ranks_found_counts_although_their_networks_were_not_measured():
    ranks = {"0": {"host": "n1", "network": "x", "child": "", "measured": {}}}
    first = json.dumps({"ranks": ranks, "clocks": {}, "span": [0, 1], "tries": None})
    found = {each.probe: each for each in rank._of_all({}, f"{first}\n", "no answer within 35 s", 1)}
    assert found["mpi.meeting"].level is Level.OK
    assert found["network.links"].level is Level.WARNING
    assert found["network.links"].what.endswith("could not be measured: no answer within 35 s")
    second = json.dumps({"ranks": ranks, "clocks": {}, "span": [0, 1], "tries": []})
    found = {each.probe: each for each in rank._of_all({}, f"{first}\n{second}\n", "", 1)}
    assert found["network.links"].level is Level.OK
    found = {each.probe: each for each in rank._of_all({}, "", "no answer within 35 s", 1)}
    assert found["mpi.meeting"].level is Level.FAILURE
