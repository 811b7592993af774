"""A line on stderr that says how things stand, or what is waited for."""

from __future__ import annotations

import os
import sys
import time

__all__ = ["PATIENCE", "StatusLine"]

PATIENCE = 2.0  # s that something may take before it is said what is waited for


class StatusLine:
    """One changing line on a terminal; elsewhere, as in a log or a notebook, a line for each change.

    enabled: whether anything is shown
    after:   s from now in which nothing is shown
    """

    def __init__(self, *, enabled: bool = True, after: float = 0.0) -> None:
        self.is_live = sys.stderr.isatty()
        self._enabled = enabled
        self._begins = time.monotonic() + after
        self._shown = ""

    def show(self, text: str, in_logs: str | None = None) -> None:
        """Show how things stand; where there is no terminal, what is to stand in logs instead, if it has changed."""
        if not self._enabled or time.monotonic() < self._begins:
            return
        if self.is_live:
            width = os.get_terminal_size(sys.stderr.fileno()).columns
            self._write(f"\r\x1b[K{f'mpidask: {text}'[: width - 1]}")
            self._shown = text
        elif (plain := text if in_logs is None else in_logs) != self._shown:
            self._write(f"mpidask: {plain}\n")
            self._shown = plain

    def clear(self) -> None:
        """Make room for other output."""
        if self.is_live and self._shown:
            self._write("\r\x1b[K")
            self._shown = ""

    def _write(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()
