"""What is waited for before MPI is up: ranks of this node that have not begun to bring it up.

Imports nothing but the standard library's smallest modules: it is part of the watchdog.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Collection, Sequence

from mpidask.launch.watchdog.launcher_environment import launcher_rank, launcher_size, local_size
from mpidask.launch.watchdog.siblings import Siblings, ranks_in_mpi

__all__ = ["Waiting", "is_quiet", "words"]

_PATIENCE = 2.0  # s before it is said what is waited for
_LOOK, _PAUSE = 1.0, 10.0  # s between two looks, and between two lines
_MANY = 8  # ranks that are named
_LAST = ("--", "-c", "-m")  # what follows is the script, or its own


class Waiting:
    """Says what is waited for, in a line when it has changed; the first of a node's ranks looks for all of them."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _PATIENCE
        self._said = ""
        self._quiet = is_quiet(sys.argv[1:])

    def line(self, present: Siblings, launcher: int, *, speaks: bool) -> str:
        """Return the line to print now, "" for none.

        present:  ranks of this node that are there
        launcher: the process that has started them
        speaks:   whether this is the one that says it
        """
        rank = launcher_rank(os.environ)
        if self._quiet or time.monotonic() < self._next or not (rank == 0 if present.unnamed else speaks):
            return ""
        self._next = time.monotonic() + _LOOK
        late = set(present.named) - ranks_in_mpi(launcher)
        others = (
            launcher_size(os.environ) - len(present)
            if rank == 0 and local_size(os.environ) in (None, len(present))
            else 0
        )
        said = words(late, others, os.uname().nodename, unnamed=len(present.unnamed))
        if said in ("", self._said):
            return ""
        self._next, self._said = time.monotonic() + _PAUSE, said
        return said


def is_quiet(arguments: Sequence[str]) -> bool:
    """Return whether nothing is to be said; what stands after the script is its own."""
    own = itertools.takewhile(lambda word: word not in _LAST and not word.endswith((".py", ".ipynb")), arguments)
    said = [word for word in own if word in ("--quiet", "--no-quiet")]
    return said[-1] == "--quiet" if said else os.environ.get("DASK_MPIDASK__QUIET", "").lower() in ("1", "true")


def words(late: Collection[int], others: int, host: str, *, unnamed: int = 0) -> str:
    """Return what is waited for, "" for nothing that is known here (pure).

    late:    ranks of this node that do not bring MPI up yet
    others:  how many ranks there are on other nodes, if this one is to speak for them
    unnamed: how many of this node cannot be told from each other
    """
    if unnamed:
        elsewhere = f"; {others} are on other nodes" if others > 0 else ""
        return f"waiting for MPI to come up: which ranks on {host} are late cannot be seen from a container{elsewhere}"
    if late:
        named = ", ".join(map(str, sorted(late)[:_MANY]))
        more = f" and {len(late) - _MANY} more" if len(late) > _MANY else ""
        return f"waiting for rank{'s' * (len(late) > 1)} {named}{more} on {host} to bring MPI up"
    if others > 0:
        return f"waiting for MPI to come up: all ranks on {host} are there, {others} are on other nodes"
    return ""
