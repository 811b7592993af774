"""Looks for workers that get lost: starts a cluster of 8 many times and counts them after a while."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

import cells
import rooms
from cells import Cell
from places import FailedError, MissingError

CELLS = [cell for cell in cells.CELLS if cell.name in cells.TLS]


def soak(chosen: Iterable[Cell], number: int) -> int:
    """Do it in each of these cells; return 0 if no worker was lost."""
    wheel = rooms.build_wheel()
    return 0 if all([_soak(cell, wheel, number) for cell in chosen]) else 1  # noqa: C419 -- all of them


def _soak(cell: Cell, wheel: Path, number: int) -> bool:
    room = rooms.Room(cell)
    try:
        room.make(wheel)
    except (MissingError, FailedError) as error:
        print(f"{cell.name}: {error}", flush=True)
        return isinstance(error, MissingError) and "MPIDASK_NO_SKIPS" not in os.environ
    words = room.words("python", f"{room.place.source}/tests/matrix/count_workers.py", str(number))
    return subprocess.run(words, env=room.environ(), timeout=180 * number, check=False).returncode == 0
