"""What a worker reports of what Dask has measured."""

from __future__ import annotations

import pytest

from mpidask.report.measures import sums

pytestmark = pytest.mark.one_mpi


def test_a_transfer_that_failed_is_no_task_that_failed():
    spent, moved, kinds = sums(
        {
            ("execute", None, "load", "thread-cpu", "seconds"): 1.0,
            ("execute", None, "load", "failed", "seconds"): 2.0,
            ("execute", None, "load", "cancelled", "seconds"): 3.0,
            ("gather-dep", "network", "seconds"): 10.0,
            ("gather-dep", "failed", "seconds"): 20.0,
            ("gather-dep", "cancelled", "seconds"): 30.0,
            ("gather-dep", "busy", "seconds"): 40.0,
            ("get-data", "network", "seconds"): 100.0,
            ("get-data", "cancelled", "seconds"): 200.0,
            ("memory-monitor", "disk-write", "bytes"): 7.0,
            "latency": 8.0,
        }
    )
    assert spent == {"cpu": 1.0, "lost": 5.0, "transfer": 200.0}
    assert (moved, kinds) == ({"spilled": 7.0}, {"load": 1.0})
