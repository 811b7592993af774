"""What runs in a process of its own: measures for probes that are named, and prints facts as JSON."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
from pathlib import Path

from mpidask.doctor.bounded import ALARM, Measured
from mpidask.doctor.probe import find
from mpidask.errors import MpidaskError

__all__ = ["end_in_time", "main", "measured"]


def main() -> None:
    """Print a line for each probe: its name, and what came of it."""
    end_in_time()
    channel = os.dup(1)
    os.dup2(2, 1)  # what probes print by accident is none of it
    root, *names = sys.argv[1:]
    for name in names:
        line = json.dumps([name, dataclasses.asdict(measured(name, Path(root)))])
        os.write(channel, f"{line}\n".encode())


def end_in_time() -> None:
    """Have the kernel end this process should the one that watches it be killed."""
    signal.alarm(int(os.environ.get(ALARM, "60")))


def measured(name: str, root: Path) -> Measured:
    """Measure for one probe; what it raises is its trouble."""
    try:
        return Measured(find(name).measure(root))
    except MpidaskError as error:
        return Measured(None, error.what)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other probes go on
        return Measured(None, f"{type(error).__name__}: {error}")
