"""The file in which a run keeps its record: lines of JSON, one after another.

It is only appended to, so that what was written is there however the run ends. The kinds of lines, by their ``kind``:

run
    The first one: versions, options, shape; ``version`` is that of this format. ``t`` is when the ranks had met,
    ``listens`` when the scheduler was up.
up, down, died
    A worker has come, has gone, its process has died (``what``).
sample
    Each worker that has changed, by name: see `SAMPLE`. Of its kinds of tasks those alone that have changed.
totals
    What the whole run has come to until now; the last one counts.
end
    The servers have ended in order.
exit
    The run has ended, with the script's exit ``status``.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import queue
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from mpidask.errors import UsageError
from mpidask.files import append_lines

__all__ = ["NAME", "SAMPLE", "VERSION", "Record", "Writer", "append", "find", "newest", "read", "read_brief", "reserve"]

VERSION = 1

#: A run's first record in a directory; that of a second one is report.1.jsonl.
NAME = "report.jsonl"

#: What a worker's entry in a sample has; all but the first three are sums since the worker came, in s and bytes.
SAMPLE = ("memory", "spilled", "running", "computed", "transfer", "serialize", "disk", "kinds")

_EVENTS = ("up", "down", "died")

_CLOSE = 3.0  # s for the last lines to be written, on a busy machine; a file system may hang
_MOST = 50_000  # lines, and workers in them, kept for a file system that hangs: some 30 MB; what comes then is dropped

_TAIL = 1 << 18  # bytes at the end of a file in which the last totals are


@dataclasses.dataclass(frozen=True)
class Record:
    """What is in a file.

    run:    its first line
    events: workers that came, went and died
    samples: of workers
    totals: the last ones, empty if there are none
    end:    when the servers ended in order, in s since 1970; None if they did not
    status: the script's exit status, None if it is not known
    """

    path: str
    run: Mapping[str, Any]
    events: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    samples: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    totals: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    end: float | None = None
    status: int | None = None

    @property
    def began(self) -> float:
        """When the run began, in s since 1970."""
        return float(self.run["t"])

    @property
    def last(self) -> float:
        """The moment up to which something is known, in s since 1970."""
        return max(self.began, self.end or 0.0, float(self.totals.get("t", 0.0)))


def reserve(directory: str) -> str:
    """Make an empty file for a record in a directory; return its path; raises OSError."""
    number = 0
    while True:
        path = os.path.join(directory, NAME if not number else f"report.{number}.jsonl")
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            number += 1
        else:
            return path


def append(path: str, lines: Iterable[Mapping[str, Any]]) -> int:
    """Append lines to a file that `reserve` has made; return how many bytes that were; raises OSError."""
    text = "".join(json.dumps(line, separators=(",", ":"), default=str) + "\n" for line in lines).encode()
    append_lines(path, text)
    return len(text)


class Writer:
    """Appends lines to a record in a thread: a file system that hangs must not hold up the scheduler.

    Nothing that goes wrong reaches who writes.

    written: bytes
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.written = 0
        self._lines: queue.SimpleQueue[Sequence[Mapping[str, Any]] | None] = queue.SimpleQueue()
        self._given = self._taken = 0  # the one is counted by who writes, the other by the thread
        self._thread = threading.Thread(target=self._write, name="mpidask report", daemon=True)
        self._thread.start()

    def write(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Have lines appended soon."""
        if self._given - self._taken < _MOST:
            self._given += _size(lines)
            self._lines.put(lines)

    def close(self) -> None:
        """Return when all is written, or after some seconds."""
        self._lines.put(None)
        self._thread.join(_CLOSE)

    def _write(self) -> None:
        while (lines := self._lines.get()) is not None:
            try:
                self.written += append(self._path, lines)
            except OSError:  # a full disk, a directory that is gone: there may be room again
                continue
            finally:
                self._taken += _size(lines)


def _size(lines: Sequence[Mapping[str, Any]]) -> int:
    return sum(1 + sum(len(each) for each in line.values() if isinstance(each, list | dict)) for line in lines)


def find(directory: str) -> list[str]:
    """Return the records in a directory, the oldest first."""
    names = [name for name in _listed(directory) if name.startswith("report.") and name.endswith(".jsonl")]
    return [os.path.join(directory, name) for name in sorted(names, key=_number)]


def _listed(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _number(name: str) -> int:
    middle = name.removeprefix("report.").removesuffix("jsonl").strip(".")
    return int(middle) if middle.isdigit() else 0


def newest(directory: str) -> Record | None:
    """Return the newest record in a directory, in brief; None if there is none that can be read."""
    for path in reversed(find(directory)):
        try:
            return read_brief(path)
        except (OSError, UsageError):  # of a run that was killed before it began
            continue
    return None


def read(path: str) -> Record:
    """Return all that is in a file; raises UsageError if it is no record, or that of a later version of mpidask."""
    with open(path, "rb") as file:
        return _gathered(path, file)


def read_brief(path: str) -> Record:
    """Return the first line of a file and the last totals alone, however large it is; raises as `read` does."""
    with open(path, "rb") as file:
        first = file.readline()
        begins = file.tell()
        file.seek(0, os.SEEK_END)
        file.seek(max(begins, file.tell() - _TAIL))
        return _gathered(path, itertools.chain([first], file))


def _gathered(path: str, lines: Iterable[bytes]) -> Record:
    last: dict[str, dict[str, Any]] = {}  # by kind
    events: list[dict[str, Any]] = []
    samples: list[dict[str, Any]] = []
    for line in _read(lines):
        kind = str(line.get("kind"))
        if kind in (*_EVENTS, "sample"):
            (samples if kind == "sample" else events).append(line)
        elif kind != "run" or kind not in last:
            last[kind] = line
    if "run" not in last:
        raise UsageError(f"{path} is no record of a run", "name a job, or the directory that was given as --report")
    run, totals, end, left = (last.get(kind, {}) for kind in ("run", "totals", "end", "exit"))
    if run.get("version", 0) > VERSION:
        raise UsageError(
            f"{path} was written by mpidask {run.get('mpidask')}, which is newer than this one",
            "read it with that version",
        )
    return Record(path, run, events, samples, totals, end.get("t"), left.get("status"))


def _read(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the lines that can be read: the last one of a run that was killed may be half there."""
    for line in lines:
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            yield value
