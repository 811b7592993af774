"""Appends lines to a file in a thread: a file system that hangs must not hold up the scheduler."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from typing import Any

from mpidask.report import record

__all__ = ["Writer"]

_CLOSE = 1.0  # s for the last lines to be written
_MOST = 10_000  # lines that are kept for a file system that hangs; what comes then is dropped


class Writer:
    """Appends lines to a record; nothing that goes wrong reaches who writes."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lines: queue.Queue[list[Mapping[str, Any]] | None] = queue.Queue(_MOST)
        self._thread = threading.Thread(target=self._write, name="mpidask report", daemon=True)
        self._thread.start()

    def write(self, lines: list[Mapping[str, Any]]) -> None:
        """Have lines appended soon."""
        if not self._lines.full():
            self._lines.put(lines)

    def close(self) -> None:
        """Return when all is written, or after a second."""
        if not self._lines.full():
            self._lines.put(None)
            self._thread.join(_CLOSE)

    def _write(self) -> None:
        while (lines := self._lines.get()) is not None:
            try:
                record.append(self._path, lines)
            except OSError:  # a full disk, a directory that is gone: there may be room again
                continue
