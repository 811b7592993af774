"""Where a rank's servers and tasks print: to the rank's log in the run directory, if the job has one.

What mpidask itself says (``sys.stderr`` of a rank, and its watchdog's) goes to the job's stderr all the same.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys

from mpidask.errors import warn

__all__ = ["append_to", "divert"]


def divert(path: str, *, warns: bool) -> None:
    """Have what this process and its children print appended to a file, but for Python's ``sys.stderr`` in this one.

    Descriptors are changed, not Python's objects: C libraries and child processes print too.

    warns: say so if the file cannot be written; everything is printed as before then
    """
    try:
        _divert(path)
    except OSError as error:
        if warns:
            name = os.path.basename(path)
            warn(f"no {name} and the like in the run directory: {error.strerror}", key="no-logs-of-ranks")


def append_to(path: str) -> None:
    """Have what this process and its children print appended to a file; raises OSError."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    try:
        os.dup2(file, 1)
        os.dup2(file, 2)
    finally:
        os.close(file)


def _divert(path: str) -> None:
    stderr = os.dup(2)
    try:
        append_to(path)
    except OSError:
        os.close(stderr)
        raise
    sys.stderr = os.fdopen(stderr, "w", buffering=1, encoding="utf-8", errors="backslashreplace")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # the log is read while tasks run
