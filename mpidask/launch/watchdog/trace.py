"""Makes a timeline of marks (pure): a Chrome trace, which browsers show, and the longest waits in it.

Imported at the end of a run with --timeline alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ["Span", "spans", "text", "waits"]

_MOST = 10  # waits that are printed
_LEAST = 0.001  # s below which a wait is none
_FIELDS = 8


class _Mark(NamedTuple):
    """A line of a part."""

    rank: int
    pid: int
    process: str
    kind: str
    at: float  # s since the node was started
    used: float  # s of CPU that the process has used
    queued: float  # s for which its main thread has waited for a core
    name: str


class Span(NamedTuple):
    """What a process did from one mark to the next, or a moment of it (kind note).

    begin, end: s since 1970
    used:       s of CPU
    queued:     s for which its main thread waited for a core
    """

    host: str
    rank: int
    pid: int
    process: str
    kind: str
    name: str
    begin: float
    end: float
    used: float
    queued: float

    @property
    def waited(self) -> float:
        """For how many s the process neither computed nor waited for a core."""
        return max(0.0, self.end - self.begin - self.used - self.queued)


def spans(lines: Mapping[str, Sequence[str]]) -> list[Span]:
    """Return what processes did, in the order of their beginnings; host -> lines of its part."""
    found = [span for host, its in lines.items() for marks in _by_process(its) for span in _of_process(host, marks)]
    return sorted(found, key=lambda span: (span.begin, span.end))


def _by_process(lines: Sequence[str]) -> list[list[_Mark]]:
    """Return the marks of each process; half lines of a process that was killed are left out."""
    processes: dict[int, list[_Mark]] = {}
    for line in lines:
        fields = line.split("\t")
        if len(fields) == _FIELDS:
            rank, pid, process, kind, at, used, queued, name = fields
            mark = _Mark(int(rank), int(pid), process, kind, float(at), float(used), float(queued), name)
            processes.setdefault(mark.pid, []).append(mark)
    return list(processes.values())


def _of_process(host: str, marks: Sequence[_Mark]) -> Iterator[Span]:
    offset, last = 0.0, marks[0]
    for mark in marks:
        if mark.kind == "start":
            offset, last = float(mark.name), mark
            continue
        is_note = mark.kind == "note"
        begin = mark.at if is_note else min(last.at, mark.at)
        # The kernel counts births in hundredths of a second.
        used, queued = max(0.0, mark.used - last.used), max(0.0, mark.queued - last.queued)
        about = (host, mark.rank, mark.pid, mark.process, mark.kind, mark.name)
        yield Span(*about, begin + offset, mark.at + offset, *((0.0, 0.0) if is_note else (used, queued)))
        last = last if is_note else mark


def text(spans: Sequence[Span]) -> str:
    """Return the trace: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU."""
    first = min((span.begin for span in spans), default=0.0)
    events = [*_names(spans), *(_event(span, first) for span in spans)]
    return json.dumps({"displayTimeUnit": "ms", "traceEvents": events, "otherData": {"began": first}}, indent=0)


def _names(spans: Sequence[Span]) -> Iterator[dict[str, Any]]:
    """Yield what ranks and processes are called: the trace's processes and threads."""
    ranks = {span.rank: span.host for span in reversed(spans) if span.process == "rank"}
    for rank in sorted({span.rank for span in spans}):
        host = f" on {ranks[rank]}" if rank in ranks else ""
        yield _about("process_name", rank, 0, name=f"rank {rank}{host}")
        yield _about("process_sort_index", rank, 0, sort_index=rank)
    processes = {(span.rank, span.pid): span.process for span in spans}
    for index, ((rank, pid), process) in enumerate(processes.items()):
        yield _about("thread_name", rank, pid, name=process)
        yield _about("thread_sort_index", rank, pid, sort_index=index)


def _about(what: str, rank: int, pid: int, **values: object) -> dict[str, Any]:
    return {"ph": "M", "name": what, "pid": rank, "tid": pid, "args": values}


def _event(span: Span, first: float) -> dict[str, Any]:
    about = {"name": span.name, "cat": span.kind, "pid": span.rank, "tid": span.pid}
    begin = round(1e6 * (span.begin - first))
    if span.kind == "note":
        return {**about, "ph": "i", "s": "t", "ts": begin}
    times = {"computed": span.used, "waited for a core": span.queued, "waited": span.waited}
    values = {f"{name}, ms": round(1e3 * seconds, 1) for name, seconds in times.items()}
    return {**about, "ph": "X", "ts": begin, "dur": round(1e6 * (span.end - first)) - begin, "args": values}


def waits(spans: Sequence[Span]) -> list[str]:
    """Return lines about the longest waits, in which a process neither computed nor waited for a core or for others."""
    first = min((span.begin for span in spans), default=0.0)
    own = [span for span in spans if span.kind == "own" and span.waited >= _LEAST]
    longest = sorted(own, key=lambda span: -span.waited)[:_MOST]
    return [
        f"{span.waited:7.3f} s of {span.end - span.begin:.3f} s, from {span.begin - first:.3f} s on: "
        f"{span.name} (rank {span.rank}, {span.process})"
        for span in longest
    ] or ["none"]
