"""Whether /dev/shm is there, writable and large enough: MPI libraries and multiprocessing need it."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mpidask.doctor.finding import Finding, failure, ok, warning
from mpidask.doctor.probe import Facts, Probe
from mpidask.launch.watchdog.launcher_environment import local_size

_MIB = 2**20
_EACH = 32 * _MIB  # of a rank's segments, as MPI libraries make them


def measure(root: Path) -> dict[str, Any]:
    """Return what is free there, and whether a file can be made."""
    place, error = root / "dev/shm", ""
    file = place / f"mpidask-doctor-{uuid.uuid4().hex}"
    try:
        file.write_bytes(bytes(4096))
        status = os.statvfs(place)
        free = status.f_bavail * status.f_frsize
    except OSError as raised:
        free, error = 0, str(raised.strerror)
    with contextlib.suppress(OSError):
        file.unlink()
    return {"free": free, "error": error, "ranks": local_size(os.environ) or 1}


def judge(facts: Facts) -> Iterator[Finding]:
    """Find shared memory that is missing or full."""
    remedy = "remove what ended runs have left there (`ls -l /dev/shm`); in a container: --shm-size=1g"
    if facts["error"]:
        yield failure(f"no file can be made in /dev/shm: {facts['error']}", remedy)
    elif facts["free"] < _EACH * facts["ranks"]:
        yield warning(f"/dev/shm has {facts['free'] // _MIB} MiB left for {facts['ranks']} ranks", remedy)
    else:
        yield ok(f"/dev/shm has {facts['free'] // _MIB} MiB left")


PROBE = Probe("shared memory", measure, judge)
