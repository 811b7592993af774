"""Which addresses of a machine others may reach."""

from __future__ import annotations

import socket
import types

import psutil
import pytest

from mpidask.addresses import interfaces

pytestmark = pytest.mark.one_mpi


def test_aliases_of_interfaces_and_interfaces_that_go_meanwhile(monkeypatch):
    """psutil knows an alias by its address alone; between its two answers interfaces come and go."""

    def state(*, up=True):
        return types.SimpleNamespace(isup=up, speed=1000)

    def ip(address):
        return [types.SimpleNamespace(family=socket.AF_INET, address=address)]

    monkeypatch.setattr(psutil, "net_if_stats", lambda: {"eth0": state(), "eth1": state(up=False)})
    known = {"eth0": ip("10.0.0.1"), "eth0:1": ip("10.0.0.2"), "eth1:1": ip("10.0.0.3"), "eth7": ip("10.0.0.4")}
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: known)
    assert interfaces.addresses(None) == [("eth0", "10.0.0.1"), ("eth0:1", "10.0.0.2")]
    assert interfaces.addresses("eth0:1") == [("eth0:1", "10.0.0.2")]
    assert interfaces.addresses("eth7") == [("eth7", "10.0.0.4")]
