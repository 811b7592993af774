"""A line that says how things stand: on stderr, in a notebook as a cell's output."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

__all__ = ["PATIENCE", "StatusLine", "report"]

PATIENCE = 2.0  # s that something may take before it is said what is waited for
_LIVE, _IN_LOGS = 0.5, 10.0  # s between two lines that would change all the time


def report(text: str) -> None:
    """Print a line about what has been done: on stderr, but in a notebook on stdout, for stderr is a red box there."""
    stream = sys.stdout if _in_notebook() else sys.stderr
    stream.write(f"mpidask: {text}\n")
    stream.flush()


def _in_notebook() -> bool:
    """Whether this process is the kernel of a notebook or console."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


class StatusLine:
    """One changing line on a terminal and in a notebook; elsewhere, as in a log, a line for each change.

    enabled: whether anything is shown
    after:   s from now in which nothing is shown
    calm:    whether it would change all the time: then it does so now and then
    """

    def __init__(self, *, enabled: bool = True, after: float = 0.0, calm: bool = False) -> None:
        self.is_live = sys.stderr is not None and sys.stderr.isatty()
        self._output: Any = None  # a notebook's, which can be changed
        self._enabled = enabled
        self._next = time.monotonic() + after
        self._pause = (_LIVE if self.is_live else _IN_LOGS) if calm else 0.0
        self._shown = ""

    @property
    def is_due(self) -> bool:
        """Whether something would be shown now."""
        return self._enabled and time.monotonic() >= self._next

    def show(self, text: str, in_logs: str | None = None) -> None:
        """Show how things stand; where there is no terminal, what is to stand in logs instead, if it has changed."""
        if not self.is_due:
            return
        self._next = time.monotonic() + self._pause
        if _in_notebook():
            self._display(f"mpidask: {text}")
        elif self.is_live:
            width = os.get_terminal_size(sys.stderr.fileno()).columns or 80
            self._write(f"\r\x1b[K{f'mpidask: {text}'[: width - 1]}")
            self._shown = text
        elif (plain := text if in_logs is None else in_logs) != self._shown:
            self._write(f"mpidask: {plain}\n")
            self._shown = plain

    def clear(self) -> None:
        """Make room for other output."""
        if self._output is not None:
            self._display("")
        elif self.is_live and self._shown:
            self._write("\r\x1b[K")
            self._shown = ""

    def _display(self, text: str) -> None:
        from IPython.display import display

        plain = {"text/plain": text}
        if self._output is None:
            self._output = display(plain, raw=True, display_id=True)  # type: ignore[no-untyped-call]  # IPython's
        elif text != self._shown:
            self._output.update(plain, raw=True)
        self._shown = text

    def _write(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()
