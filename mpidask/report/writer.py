"""Appends lines to a file in a thread: a file system that hangs must not hold up the scheduler."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from mpidask.report import record

__all__ = ["Writer"]

_CLOSE = 1.0  # s for the last lines to be written
_MOST = 50_000  # lines, and workers in them, kept for a file system that hangs: some 30 MB; what comes then is dropped


class Writer:
    """Appends lines to a record; nothing that goes wrong reaches who writes.

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
        """Return when all is written, or after a second."""
        self._lines.put(None)
        self._thread.join(_CLOSE)

    def _write(self) -> None:
        while (lines := self._lines.get()) is not None:
            try:
                self.written += record.append(self._path, lines)
            except OSError:  # a full disk, a directory that is gone: there may be room again
                continue
            finally:
                self._taken += _size(lines)


def _size(lines: Sequence[Mapping[str, Any]]) -> int:
    return sum(1 + sum(len(each) for each in line.values() if isinstance(each, list | dict)) for line in lines)
