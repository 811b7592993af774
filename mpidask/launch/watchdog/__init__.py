"""What runs before MPI is up and beside it: each rank's watchdog, signals, processes of a node.

Runs in every rank before anything else, and in the watchdog's own process. May import the standard library's smallest
modules only.

What is below is called wherever a process has come to the end of something, for --timeline. Without that option it
costs one comparison, and imports nothing.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any

__all__ = [
    "NOTE",
    "OTHERS",
    "OWN",
    "SCRIPT",
    "TIMELINE",
    "end_timeline",
    "mark",
    "time_early",
    "time_process",
    "time_run",
]

#: Tells the processes that a rank starts where their marks belong: RANK:FILE, without FILE as long as it is not known.
TIMELINE = "MPIDASK_TIMELINE"

#: What a mark ends: a process's own work, a wait for other processes of the run, the user's script; or a moment only.
OWN, OTHERS, SCRIPT, NOTE = "own", "others", "script", "note"

_OPTION, _CONFIGURED = "--timeline", "DASK_MPIDASK__TIMELINE"


class _Process:
    """What this process keeps; marks: None without --timeline."""

    marks: Any = None


def mark(name: str, kind: str = OWN) -> None:
    """Note that this process has just come to the end of what is named, which began with its last mark."""
    if _Process.marks is not None:
        _Process.marks.add(name, kind)


def time_early(words: Collection[str], rank: int) -> None:
    """In a rank, before MPI is up: begin to keep marks if a timeline seems to be wanted.

    words: of the command line
    """
    os.environ.pop(TIMELINE, None)  # a task's that starts another run
    if _CONFIGURED in os.environ or any(word.startswith(_OPTION) for word in words):
        from mpidask.launch.watchdog import timeline

        os.environ[TIMELINE] = f"{rank}:"
        _Process.marks = timeline.Marks("rank", rank)
        mark("start Python")


def time_run(file: str | None, run: str, rank: int) -> str | None:
    """In a rank, once it is settled whether there is a timeline: write marks from here on, or forget them.

    file: that of the timeline, None for none
    run:  id of the run
    Returns what the watchdog is to know to write the timeline, where the rank cannot: on rank 0.
    """
    if file is None:
        if TIMELINE in os.environ:
            os.environ[TIMELINE] = ""  # for what was started early
        _Process.marks = None
        return None
    from mpidask.launch.watchdog import timeline

    marks = _Process.marks = _Process.marks or timeline.Marks("rank", rank)
    marks.write_to(timeline.part(file, run), rank)
    os.environ[TIMELINE] = f"{rank}:{marks.part}"
    if rank:
        return None
    marks.whole = (file, run)
    return f"{run} {file}"


def time_process(name: str, *, last: bool = False) -> None:
    """In a process that a rank has started: keep and write marks as its environment says.

    name: of the process
    last: it starts no other ones of the run
    """
    value = os.environ.pop(TIMELINE, "") if last else os.environ.get(TIMELINE, "")
    rank, _, part = value.partition(":")
    if not rank or (last and not part):
        _Process.marks = None
        return
    from mpidask.launch.watchdog import timeline

    marks = _Process.marks = _Process.marks or timeline.Marks(name, int(rank))
    marks.become(name, int(rank))
    if part:
        marks.write_to(part, int(rank))


def end_timeline() -> None:
    """In a rank that parts from the others: on rank 0 write the timeline and print the longest waits."""
    marks, _Process.marks = _Process.marks, None
    os.environ.pop(TIMELINE, None)
    if marks is not None and marks.whole is not None:
        from mpidask.launch.watchdog import timeline

        timeline.finish(*marks.whole)
