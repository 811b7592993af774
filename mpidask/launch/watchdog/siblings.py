"""The ranks of a node, as one of them sees the others: alive, and which they are.

Imported before MPI is up: nothing but the standard library's smallest modules. Who runs in a container with a user
namespace of its own sees that the others are there, and not which they are:
https://man7.org/linux/man-pages/man2/ptrace.2.html, "Ptrace access mode checking".
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator

from mpidask.launch.watchdog.launcher_environment import CONTAINER, RANK_VARIABLES, launcher_rank
from mpidask.launch.watchdog.procfs import Stat, launcher_of, pids, read, read_stat

__all__ = ["Siblings", "outlast_others", "ranks_in_mpi", "ranks_under"]

_OUTLAST, _OUTLAST_MOST = 0.2, 6.0  # s that a rank that fails stays after the others, at least and at most
_NOTICED = 0.1  # s for the launcher to notice that they are gone

#: Processes, by number and birth, that were found to be ranks: all watchdogs of a node look for all of them.
_ranks: dict[tuple[int, str], int] = {}


class Siblings:
    """The living ranks of this node that one launcher process has started, also behind wrapper scripts.

    named:   rank -> the launcher's child that is it, or has started it
    unnamed: those of which it cannot be seen which ranks they are
    """

    def __init__(self, named: dict[int, Stat], unnamed: list[Stat]) -> None:
        self.named, self.unnamed = named, unnamed

    def __len__(self) -> int:
        return len(self.named) + len(self.unnamed)

    def __iter__(self) -> Iterator[Stat]:
        yield from self.named.values()
        yield from self.unnamed

    def first(self, rank: int, pid: int) -> bool:
        """Return whether this one is to speak for them all, of which each asks the same.

        rank: its number
        pid:  its process, or the one on the node that stands for its container
        """
        if not self.unnamed:
            return rank == min(self.named, default=None)
        children = {each.pid for each in self}
        while pid > 1 and pid not in children:
            stat = read_stat(pid)
            pid = stat.parent if stat else 0
        return pid == min(children)


def ranks_under(launcher: int) -> Siblings:
    """Return the ranks that this launcher process has started."""
    # The kernel's list may leave one out while another one ends: none at all is looked at twice.
    found = _ranks_among(_children(launcher), launcher)
    return found if len(found) else _ranks_among(pids(), launcher)


def _ranks_among(among: Iterable[int], launcher: int) -> Siblings:
    named: dict[int, Stat] = {}
    unnamed: list[Stat] = []
    for pid in among:
        stat = read_stat(pid)
        if stat is None or stat.parent != launcher or stat.state in "ZX":
            continue
        born = (pid, stat.born)
        try:
            if born not in _ranks and (rank := _rank_of(_environ(pid))) is not None:
                _ranks[born] = rank
        except PermissionError:
            unnamed += [stat] if _is_ours(pid) else []
        named.update({_ranks[born]: stat} if born in _ranks else {})
    return Siblings(named, unnamed)


def _is_ours(pid: int) -> bool:
    """Whether a process is this user's, whoever owns its files in /proc."""
    uid = next((line.split()[1] for line in read(pid, "status").split("\n") if line.startswith("Uid:")), "")
    return uid == str(os.getuid())


def _children(pid: int) -> list[int]:
    """Return the children of a process as the kernel lists them; none where it does not."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            found += map(int, read(pid, f"task/{thread}/children").split())
    return found


def ranks_in_mpi(launcher: int) -> set[int]:
    """Return the ranks of this launcher process that have loaded an MPI library, behind whatever has started them."""
    found = set()
    for pid in pids():
        with contextlib.suppress(PermissionError):
            environ = _environ(pid)
            rank = _rank_of(environ)
            if rank is not None and "/libmpi" in read(pid, "maps") and _is_below(pid, environ, launcher):
                found.add(rank)
    return found


def _is_below(pid: int, environ: dict[str, str], launcher: int) -> bool:
    container = environ.get(CONTAINER, "")
    pid = int(container) if container.isdigit() else pid
    while pid > 1 and pid != launcher:
        stat = read_stat(pid)
        pid = stat.parent if stat else 0
    return pid == launcher


def _environ(pid: int) -> dict[str, str]:
    """Return the environment with which a process began; empty where it is gone.

    PermissionError: it is not to be seen
    """
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            entries = file.read().decode(errors="replace").split("\0")
    except PermissionError:
        raise
    except OSError:
        return {}
    return dict(entry.partition("=")[::2] for entry in entries)


def _rank_of(environ: dict[str, str]) -> int | None:
    return launcher_rank(environ) if any(name in environ for name in RANK_VARIABLES) else None


def outlast_others() -> None:
    """Wait until no other rank of this node is left, and a little for those of other nodes."""
    launcher = launcher_of(os.getppid())
    begun = time.monotonic()
    while (waited := time.monotonic() - begun) < _OUTLAST_MOST:
        if waited > _OUTLAST and len(ranks_under(launcher)) <= 1:
            break
        time.sleep(0.02)
    time.sleep(_NOTICED)
