"""Dask's clusters take the steps that `SteppedCluster` gives public names."""

from __future__ import annotations

import asyncio

import pytest
from distributed.core import Status
from distributed.deploy.cluster import Cluster
from distributed.deploy.spec import SpecCluster

from mpidask.compat.stepped_cluster import SteppedCluster

pytestmark = pytest.mark.one_mpi


def test_dask_has_these_steps():
    for name in ("_start", "_correct_state", "_close", "_update_worker_status"):
        assert name in vars(SpecCluster), name
    assert "_update_worker_status" in vars(Cluster)


def test_each_step_is_a_public_method(monkeypatch):
    taken = []

    class Mine(SteppedCluster):
        async def begin(self):
            taken.append("begin")

        async def carry_out(self):
            taken.append("carry out")

        async def end(self):
            taken.append("end")

        def workers_changed(self):
            taken.append("workers changed")

    async def steps():
        cluster = object.__new__(Mine)
        await cluster._start()
        await cluster._correct_state()
        cluster._update_worker_status("add", {})
        await cluster._close()

    monkeypatch.setattr(Cluster, "_update_worker_status", lambda self, op, msg: taken.append(op))
    asyncio.run(steps())
    assert taken == ["begin", "carry out", "add", "workers changed", "end"]


def test_without_steps_of_its_own_it_is_dasks(monkeypatch):
    taken = []

    async def step(self):
        taken.append("Dask's")

    async def steps():
        cluster = object.__new__(SteppedCluster)
        cluster.status = Status.closed
        await cluster._start()
        await cluster._correct_state()
        await cluster._close()

    for name in ("_start", "_correct_state", "_close"):
        monkeypatch.setattr(SpecCluster, name, step)
    asyncio.run(steps())
    assert len(taken) == 3
