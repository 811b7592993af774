"""What a worker reports of what Dask has measured."""

from __future__ import annotations

import time
import types

import pytest

from mpidask.report import measures as measures_module
from mpidask.report.measures import WorkerMeasures, sums

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


def test_sums_of_many_kinds_are_made_less_often(monkeypatch):
    """A script may make a kind of each task, and Dask keeps a sum of each for good."""
    now = [1000.0]
    clocks = {"monotonic": lambda: now[0], "thread_time": time.thread_time}
    monkeypatch.setattr(measures_module, "time", types.SimpleNamespace(**clocks))
    digests = {("execute", None, f"station_{number}", "thread-cpu", "seconds"): 1.0 for number in range(20_000)}
    worker = types.SimpleNamespace(
        state=types.SimpleNamespace(tasks={}),
        metrics={},
        digests_total=digests,
        transfer_incoming_log=[],
        profile_history=[],
        profile_keys_history=[],
    )
    measures = WorkerMeasures()
    measures.setup(worker)
    begun = time.thread_time()
    assert measures.report()["seconds"]["cpu"] == 20_000
    digests[("execute", None, "last", "thread-cpu", "seconds")] = 1.0
    assert measures.report()["seconds"]["cpu"] == 20_000
    now[0] += 200 * (time.thread_time() - begun)
    assert measures.report()["seconds"]["cpu"] == 20_001
