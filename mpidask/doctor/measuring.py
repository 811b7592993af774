"""What runs in a process of its own: measures for probes that are named, and prints facts as JSON."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from mpidask.doctor.bounded import Measured
from mpidask.doctor.probe import find
from mpidask.doctor.time_limit import ALARM
from mpidask.errors import MpidaskError
from mpidask.launch.watchdog.launcher_environment import TOKEN
from mpidask.launch.watchdog.procfs import kill_marked

__all__ = ["end_in_time", "main", "measured"]

_GLANCE = 0.3  # s between two looks whether the doctor is still there
_LATER = 5  # s that the doctor has to end this process by itself, and this process before the kernel does


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
    """Have this process end with all its children when the doctor has gone, or when its time is up."""
    seconds = float(os.environ.get(ALARM, "60")) + _LATER
    signal.alarm(int(seconds) + _LATER)
    watched = (os.getppid(), os.environ.get(TOKEN, ""), time.monotonic() + seconds)
    threading.Thread(target=_end_alone, args=watched, daemon=True).start()


def _end_alone(doctor: int, token: str, deadline: float) -> None:
    """Wait until the doctor's process has gone, or until the deadline; then end this process and its children."""
    while os.getppid() == doctor and time.monotonic() < deadline:
        time.sleep(_GLANCE)
    kill_marked(token, trackers=True)
    os.kill(os.getpid(), signal.SIGKILL)


def measured(name: str, root: Path) -> Measured:
    """Measure for one probe; what it raises is its trouble."""
    try:
        return Measured(find(name).measure(root))
    except MpidaskError as error:
        return Measured(None, error.what)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other probes go on
        return Measured(None, f"{type(error).__name__}: {error}")
