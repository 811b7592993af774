"""A line that says how things stand."""

from __future__ import annotations

import os
import sys

__all__ = ["StatusLine"]


class StatusLine:
    """One changing line on a terminal; elsewhere, as in a notebook, a line for each change."""

    def __init__(self, *, enabled: bool) -> None:
        self._terminal = sys.stderr.isatty()
        self._enabled = enabled
        self._shown = ""

    def show(self, text: str) -> None:
        """Show how things stand."""
        if self._enabled and text != self._shown:
            if self._terminal:
                width = os.get_terminal_size(sys.stderr.fileno()).columns
                self._write(f"\r\x1b[K{f'mpidask: {text}'[: width - 1]}")
            else:
                self._write(f"mpidask: {text}\n")
            self._shown = text

    def clear(self) -> None:
        """Make room for other output."""
        if self._terminal and self._shown:
            self._write("\r\x1b[K")
            self._shown = ""

    def _write(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()
