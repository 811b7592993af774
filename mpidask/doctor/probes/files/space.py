"""Whether home, working directory and scratch can be written to."""

from __future__ import annotations

import contextlib
import os
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mpidask.doctor.finding import Finding, Level, failure, ok, warning
from mpidask.doctor.probe import Facts, Probe

_MIB = 2**20
_WRITTEN = _MIB  # bytes that are written for a try: quotas do not show in what is said to be free
_LEAST = 100 * _MIB


def measure(_root: Path) -> dict[str, Any]:
    """Return what is free in each place, and the error of writing there."""
    places = {
        "home": os.path.expanduser("~"),
        "working directory": os.getcwd(),
        "temporary directory": os.environ.get("TMPDIR") or "/tmp",
    }
    return {name: {"path": path, **_tried(path)} for name, path in places.items()}


def _tried(path: str) -> dict[str, Any]:
    """Return the free bytes, and what keeps a file from being written."""
    free, error = None, ""
    try:
        status = os.statvfs(path)
        free = status.f_bavail * status.f_frsize
        _write(path)
    except OSError as raised:
        error = str(raised.strerror)
    return {"free": free, "error": error}


def _write(path: str) -> None:
    handle, name = tempfile.mkstemp(prefix=".mpidask-doctor-", dir=path)
    try:
        os.write(handle, bytes(_WRITTEN // 2))
        if os.write(handle, bytes(_WRITTEN // 2)) < _WRITTEN // 2:
            os.write(handle, bytes(_WRITTEN // 2))  # says why
        os.fsync(handle)
    finally:
        os.close(handle)
        with contextlib.suppress(OSError):
            os.unlink(name)


def judge(facts: Facts) -> Iterator[Finding]:
    """Find places that are full or cannot be written to."""
    good = []
    for name, about in facts.items():
        path, free = about["path"], about["free"]
        if about["error"]:
            yield _unwritable(name, path, about["error"])
        elif free is not None and free < _LEAST:
            yield warning(f"{name} {path} has {free // _MIB} MiB left", _room(path))
        else:
            good.append(f"{name} {free // 2**30} GiB")
    if good:
        yield ok(f"free: {', '.join(good)}")


def _room(path: str) -> str:
    return f"make room: du -xhd1 {shlex.quote(path)} | sort -h | tail"


def _unwritable(name: str, path: str, error: str) -> Finding:
    said = f"{name} {path} cannot be written to: {error}"
    room = f"{_room(path)}, and `quota -s`"
    if name == "home":
        return failure(said, f"{room}; records of jobs may go elsewhere: --state-directory DIRECTORY")
    if name == "working directory":
        return warning(said, f"{room}, or change to a directory that you may write to")
    return failure(said, f"{room}, or: export TMPDIR=DIRECTORY")


PROBE = Probe("space", measure, judge, silence=Level.FAILURE)
