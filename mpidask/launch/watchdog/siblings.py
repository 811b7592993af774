"""The ranks of a node, as one of them sees the others: alive, and which they are.

Imported before MPI is up: nothing but the standard library's smallest modules. Who runs in a container with a user
namespace of its own sees that the others are there, and not which they are:
https://man7.org/linux/man-pages/man2/ptrace.2.html, "Ptrace access mode checking".
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator

from mpidask.launch.watchdog.launcher_environment import CONTAINER, RANK_VARIABLES, launcher_rank
from mpidask.launch.watchdog.procfs import Stat, container_process, launcher_of, pids, program_name, read, read_stat

__all__ = ["Siblings", "Sight", "outlast_others", "ranks_in_mpi"]

_OUTLAST, _OUTLAST_MOST = 0.2, 6.0  # s that a rank that fails stays after the others, at least and at most
_NOTICED = 0.1  # s for the launcher to act once it knows that they are gone
_REFUSALS = 4  # looks after which a process is taken to stay closed: one that is being started is so for a moment

#: A launcher's children that are no ranks: watchdogs that it has inherited, and its way to other nodes.
_NO_RANKS = {
    "mpidask-watch", "orted", "prted", "ssh", "rsh", "srun", "qrsh", "blaunch", "pbsdsh", "pbs_tmrsh", "lsrun",
}  # fmt: skip

#: Which of the runs it is that one daemon has started. Read early: a rank removes from its environment what its
#: children must not see.
_run = {name: os.environ.get(name) for name in ("PMIX_NAMESPACE", "PALS_APID")}


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


class Sight:
    """What one rank sees of its siblings.

    launcher: the process that has started them
    most:     how many it has seen at a time
    """

    def __init__(self, launcher: int, rank: int, pid: int) -> None:
        """Look once at who stands for this rank.

        rank: its number
        pid:  its process
        """
        self.launcher, self.most = launcher, 0
        container = container_process()
        self._rank, self._own = rank, _child_above(container.pid if container else pid, launcher)
        self._is_bare = _is_bare(self._own)  # as those of its siblings are then
        self._ranks: dict[tuple[int, str], int] = {}  # by number and birth: who is one stays one
        self._closed: Counter[tuple[int, str]] = Counter()  # by number and birth, too: how often it was refused

    def look(self) -> Siblings:
        """Return the ranks that are there."""
        # The kernel's list may leave one out while another one ends: none at all is looked at twice.
        found = self._among(_children(self.launcher))
        found = found if len(found) else self._among(pids())
        self.most = max(self.most, len(found))
        return found

    def speaks(self, present: Siblings) -> bool:
        """Return whether this one is to speak for those that are there, of which each asks the same."""
        if not present.unnamed:
            return self._rank == min(present.named, default=None)
        return self._own == min(each.pid for each in present)

    def _among(self, candidates: Iterable[int]) -> Siblings:
        found = Siblings({}, [])
        for pid in candidates:
            stat = read_stat(pid)
            if stat is not None and stat.parent == self.launcher and stat.state not in "ZX":
                self._sort(stat, found)
        return found

    def _sort(self, stat: Stat, found: Siblings) -> None:
        """Take a child of the launcher for a rank, if it is one."""
        born = (stat.pid, stat.born)
        if born not in self._ranks and self._closed[born] < _REFUSALS:
            self._ask(born)
        if born in self._ranks:
            found.named.setdefault(self._ranks[born], stat)
        elif self._closed[born]:
            found.unnamed.append(stat)

    def _ask(self, born: tuple[int, str]) -> None:
        """Note which rank a child of the launcher is, or that it is one and does not tell."""
        pid, rank, hides = born[0], None, False
        if pid == self._own:
            rank = self._rank
        elif program_name(pid) not in _NO_RANKS:
            try:
                rank = _rank_of(_environ(pid))
                hides = rank is None and self._is_bare
            except PermissionError:
                hides = True
        if rank is not None:
            self._ranks[born] = rank
        self._closed[born] = self._closed[born] + 1 if hides and _is_ours(pid) else 0


def _is_bare(pid: int) -> bool:
    """Whether a process has none of the launcher's variables, though one of its descendants is a rank."""
    with contextlib.suppress(PermissionError):
        return pid > 0 and _rank_of(_environ(pid)) is None
    return False


def _child_above(pid: int, ancestor: int) -> int:
    """Return the process at or above a process that an ancestor has started; 0 if it is not below that one."""
    while (stat := read_stat(pid)) is not None and stat.parent != ancestor:
        pid = stat.parent
    return 0 if stat is None else pid


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
    return _child_above(int(container) if container.isdigit() else pid, launcher) > 0


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
    """Return which rank of this run has that environment, None if none has."""
    other = any(value is not None and environ.get(name, value) != value for name, value in _run.items())
    is_rank = any(name in environ for name in RANK_VARIABLES) and not other
    return launcher_rank(environ) if is_rank else None


def outlast_others() -> None:
    """Wait until no other rank of this node is left, and a little for those of other nodes."""
    sight = Sight(launcher_of(os.getppid()), -1, os.getpid())
    begun = time.monotonic()
    while (waited := time.monotonic() - begun) < _OUTLAST_MOST:
        if waited > _OUTLAST and len(sight.look()) <= 1 and not _is_behind(sight.launcher):
            break
        time.sleep(0.02)
    time.sleep(_NOTICED)


def _is_behind(launcher: int) -> bool:
    """Whether a launcher has yet to take note of the end of processes that it has started."""
    return any(stat is not None and stat.state == "Z" for stat in map(read_stat, _children(launcher)))
