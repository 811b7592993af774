"""Which address of the scheduler's node is taken."""

from __future__ import annotations

import pytest

from mpidask.errors import StartupError
from mpidask.launch.resources import network


def test_the_first_address_that_all_reach_is_taken():
    offers = [("hsn0", "10.0.0.1", 1), ("ib0", "10.1.0.1", 2), ("eth0", "10.2.0.1", 3)]
    reached = {1: {"10.1.0.1": "10.1.0.2", "10.2.0.1": "10.2.0.2"}, 2: {"10.0.0.1": "10.0.0.3", "10.1.0.1": "10.1.0.3"}}
    assert network.best(offers, reached, {0: "n1"}) == ("ib0", "10.1.0.1")
    with pytest.raises(StartupError, match="no network address of the scheduler's node n1") as caught:
        network.best(offers, {1: {}, 2: reached[2]}, {0: "n1", 1: "n2", 2: "n3"})
    assert "hsn0 (10.0.0.1), ib0 (10.1.0.1), eth0 (10.2.0.1)" in caught.value.what
    assert "rank 1 on n2" in caught.value.what
    assert "--interface" in caught.value.remedy


def test_addresses_are_tried_by_connecting():
    targets = network.ProbeTargets([("lo", "127.0.0.1"), ("lo2", "127.0.0.2"), ("gone", "192.0.2.77")])
    assert [name for name, _, _ in targets.offers] == ["lo", "lo2"]
    assert network.probe(targets.offers) == {"127.0.0.1": "127.0.0.1", "127.0.0.2": "127.0.0.1"}
    targets.close()
    assert network.probe(targets.offers) == {}


def test_a_node_without_ipv4_is_said_to_be_one():
    with pytest.raises(StartupError, match="node n1 has no network interface with an IPv4 address"):
        network.best([], {1: {}}, {0: "n1", 1: "n2"})
