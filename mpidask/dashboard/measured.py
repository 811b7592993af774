"""What a scheduler knows of a worker, as fields of a row; and what workers report for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from distributed import Status, Worker, WorkerPlugin
from distributed.scheduler import WorkerState

__all__ = ["SelfReport", "hide_missing_pages", "measured"]

_METRIC = "mpidask"  # a worker's report, among the metrics of its heartbeats
_STATES = {Status.running: "running", Status.paused: "paused", Status.init: "starting"}
_PAGES = "dashboard"  # the service of a worker whose pages Dask links to


class SelfReport(WorkerPlugin):
    """Has a worker report how long it has computed, and whether it has pages."""

    name = "mpidask-report"

    def setup(self, worker: Worker) -> None:
        """Add the report to what heartbeats carry."""
        metrics: dict[str, Callable[[Worker], Any]] = worker.metrics
        metrics[_METRIC] = _report


def _report(worker: Any) -> dict[str, Any]:
    digests = worker.digests_total.items()
    computed = sum(value for name, value in digests if name[0] == "execute" and name[-1] == "seconds")
    return {"computed": computed, "pages": bool(worker.http_application.applications)}


def measured(state: WorkerState, since: float) -> dict[str, Any]:
    """Return a worker's fields of a `Row`.

    since: when it came up, by time.monotonic
    """
    metrics = state.metrics
    running, uptime = len(state.executing), time.monotonic() - since
    return {
        "state": _STATES.get(state.status, "closing"),
        "pid": state.pid,
        "threads": state.nthreads,
        "cpu": metrics.get("cpu"),
        "memory": metrics.get("memory"),
        "memory_limit": state.memory_limit or None,
        "running": running,
        "queued": max(0, len(state.processing) - running),
        "idle": _idle(state, uptime),
        "spill": metrics.get("spilled_bytes", {}).get("disk"),
        "uptime": uptime,
    }


def _idle(state: WorkerState, uptime: float) -> float | None:
    """Return the share of its threads' time in which a worker has had no task; None if it does not report that."""
    report = state.metrics.get(_METRIC)
    available = uptime * state.nthreads
    if report is None or not available:
        return None
    busy = report["computed"] + sum(state.executing.values())
    return float(min(1.0, max(0.0, 1 - busy / available)))


def hide_missing_pages(state: WorkerState, *, has_pages: bool) -> None:
    """Have Dask's pages not link to those of a worker that has none.

    has_pages: of a worker that does not report it
    """
    report = state.metrics.get(_METRIC)
    if not (has_pages if report is None else report["pages"]):
        state.services.pop(_PAGES, None)
