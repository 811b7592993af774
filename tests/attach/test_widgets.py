"""What a notebook shows of a cluster whose size is fixed."""

from __future__ import annotations

import asyncio

import pytest
from distributed.core import Status

from mpidask.compat.fixed_size_cluster import FixedSizeCluster

pytest.importorskip("ipywidgets")

pytestmark = pytest.mark.one_mpi


def test_there_is_no_tab_for_what_is_refused():
    async def tabs():
        cluster = FixedSizeCluster(asynchronous=True, name="mine")
        shown = cluster._widget()
        cluster.status = Status.closed
        return shown

    shown = asyncio.run(tabs())
    assert shown.titles == ("Status",)
    (page,) = shown.children
    assert "FixedSizeCluster" in page.value and "mine" in page.value
