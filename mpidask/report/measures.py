"""What a worker reports for the record: where its time went, its longest tasks, their lines."""

from __future__ import annotations

import heapq
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from distributed import Worker, WorkerPlugin

__all__ = ["METRIC", "WorkerMeasures"]

#: The worker's report, among the metrics of its heartbeats.
METRIC = "mpidask-report"

_LONGEST, _KINDS = 10, 20
_SUMMING = 0.005  # part of the event loop's time that sums may take
_IMPORTS = "<frozen importlib"  # in the name of a frame in which a module is imported
_NOT_THE_USERS = ("/site-packages/", "/dist-packages/", "/lib/python", "<frozen", "<__array_function__")

#: What Dask calls what it has measured -> what we call it.
_ACTIVITIES = {
    "thread-cpu": "cpu",
    "thread-noncpu": "noncpu",
    "network": "transfer",
    "disk-read": "disk",
    "disk-write": "disk",
    "serialize": "serialize",
    "deserialize": "serialize",
    "compress": "serialize",
    "decompress": "serialize",
}
_VAIN = ("failed", "cancelled")  # activities that came to nothing: in "execute" a task, elsewhere a transfer


class WorkerMeasures(WorkerPlugin):
    """Has a worker report where its time went."""

    name = "mpidask-measures"

    def setup(self, worker: Worker) -> None:
        """Add the report to what heartbeats carry."""
        self._worker, self._tasks = worker, worker.state.tasks
        self._longest: list[tuple[float, str, float]] = []  # a heap: duration, key, when it began
        self._least = 0.0
        self._profiled = 0.0  # up to when the profile has been looked through
        self._samples, self._importing = 0, 0
        self._lines: dict[str, Counter[str]] = {}
        self._sums: tuple[Mapping[str, float], Mapping[str, float], Mapping[str, float]] = ({}, {}, {})
        self._due = 0.0  # when they are to be made again
        self._received, self._counted = 0, 0.0  # bytes, and up to when they have been counted
        metrics: dict[str, Any] = worker.metrics
        metrics[METRIC] = lambda _worker: self.report()

    def transition(self, key: Any, start: str, finish: str, **_: Any) -> None:
        """Take note of a task that has been computed."""
        if finish == "memory" and start == "executing":
            moments = self._tasks[key].startstops
            if moments:
                last = moments[-1]
                duration = last["stop"] - last["start"]
                if duration > self._least:
                    self._note(duration, str(key), last["start"])

    def _note(self, duration: float, key: str, began: float) -> None:
        push = heapq.heappush if len(self._longest) < _LONGEST else heapq.heappushpop
        push(self._longest, (duration, key, began))
        if len(self._longest) == _LONGEST:
            self._least = self._longest[0][0]

    def report(self) -> dict[str, Any]:
        """Return sums since the worker began."""
        spent, moved, heaviest = self._sum_up()
        self._look_through_profile()
        lines = {kind: found.most_common(1)[0][0] for kind in heaviest if (found := self._lines.get(kind))}
        share = self._importing / self._samples if self._samples else 0.0
        return {
            "seconds": {**spent, "imports": share * (spent["cpu"] + spent["noncpu"])},
            "bytes": {**moved, "received": self._count_received()},
            "kinds": heaviest,
            "lines": lines,
            "longest": sorted(self._longest, reverse=True),
        }

    def _sum_up(self) -> tuple[Mapping[str, float], Mapping[str, float], Mapping[str, float]]:
        """Return `sums`, of the heaviest kinds alone; where there are many kinds, those of a while ago."""
        if time.monotonic() >= self._due:
            begun = time.thread_time()
            spent, moved, kinds = sums(self._worker.digests_total)
            self._sums = spent, moved, dict(heapq.nlargest(_KINDS, kinds.items(), key=lambda each: each[1]))
            self._due = time.monotonic() + (time.thread_time() - begun) / _SUMMING
        return self._sums

    def _count_received(self) -> int:
        """Return the bytes that other workers have sent."""
        log, since = self._worker.transfer_incoming_log, self._counted
        for transfer in reversed(log):
            if transfer["stop"] <= since:
                break
            self._received += transfer["total"]
        if log:
            self._counted = log[-1]["stop"]
        return self._received

    def _look_through_profile(self) -> None:
        """Count the samples in which modules were imported, and those in lines of the user's."""
        since = self._profiled
        for when, tree in reversed(self._worker.profile_history):
            if when <= since:
                break
            self._samples += tree["count"]
            self._importing += _importing(tree)
        for when, trees in reversed(self._worker.profile_keys_history):
            if when <= since:
                break
            for kind, tree in trees.items():
                self._lines.setdefault(kind, Counter()).update(dict(_users_lines(tree)))
        if self._worker.profile_history:
            self._profiled = self._worker.profile_history[-1][0]


def sums(digests: Mapping[Any, float]) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Return of what Dask has measured (pure): seconds by activity, bytes by activity, computed seconds by kind."""
    spent, moved, kinds = (defaultdict[str, float](float) for _ in range(3))
    for name, value in digests.items():
        if not isinstance(name, tuple) or len(name) < 3:
            continue
        context, activity, unit = name[0], name[-2], name[-1]
        if unit == "seconds":
            ours = "lost" if activity in _VAIN and context == "execute" else _ACTIVITIES.get(str(activity))
            if ours is not None:
                spent[ours] += value
            elif context == "gather-dep":
                spent["transfer"] += value
            if context == "execute" and ours in ("cpu", "noncpu"):
                kinds[str(name[-3])] += value
        elif unit == "bytes" and activity == "disk-write":
            moved["spilled"] += value
    return spent, moved, kinds


def _importing(node: Mapping[str, Any]) -> int:
    """Return in how many samples of a profile's branch a module was imported."""
    if _IMPORTS in str(node["identifier"]):
        return int(node["count"])
    return sum(_importing(child) for child in node["children"].values())


def _users_lines(node: Mapping[str, Any], above: str | None = None) -> Iterator[tuple[str, int]]:
    """Yield the innermost line of the user's code of each branch, with its samples."""
    about = node["description"]
    file = about["filename"] if isinstance(about, Mapping) else ""
    if file and not any(part in file for part in _NOT_THE_USERS):
        above = f"{file}:{about['line_number']} in {about['name']}: {about['line'].strip()[:80]}"
    inner = 0
    for child in node["children"].values():
        inner += child["count"]
        yield from _users_lines(child, above)
    if above is not None and node["count"] > inner:
        yield above, node["count"] - inner
