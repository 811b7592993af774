"""The sentinel: cancels the jobs of a program that was killed, and removes its keys.

``python -m mpidask.batch.sentinel DIRECTORY`` outlives the program and its terminal; its stdin is a pipe that the
program holds open.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from mpidask.batch import leases
from mpidask.batch.commands import runner

__all__ = ["start"]


def start(lease: leases.Lease) -> int:
    """Start the sentinel for a lease of this process; return the descriptor that keeps it waiting."""
    return runner.attend([sys.executable, "-m", __name__, str(lease.directory)])


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):  # meant for the program; it acts when that has ended
        signal.signal(number, signal.SIG_IGN)
    leases.watch(Path(sys.argv[1]))
