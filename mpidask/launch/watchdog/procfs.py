"""Processes of this node as the kernel shows them: who lives, who started whom, who belongs to a rank.

Imported before MPI is up: nothing but the standard library's smallest modules.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time

from mpidask.launch.watchdog.launcher_environment import CONTAINER, TOKEN

__all__ = [
    "Stat",
    "container_process",
    "is_gone",
    "is_launcher",
    "kill_marked",
    "launcher_of",
    "launcher_process",
    "launchers_above",
    "name_process",
    "pids",
    "program_name",
    "read",
    "read_stat",
]

_EXITING = 0x4  # PF_EXITING: https://github.com/torvalds/linux/blob/master/include/linux/sched.h
_TRACKER = 1.0  # s that Python's resource tracker gets to clean up

#: Words on the command lines of processes that others need to the end: Open MPI 4 starts a daemon where there is no
#: launcher, and reports an error if it has gone before MPI_Finalize.
_LAST = ("resource_tracker", "--singleton-died-pipe")

#: Names (as the kernel cuts them, 15 characters) of the processes that start ranks on a node.
_LAUNCHER_NAMES = {
    "hydra_pmi_proxy", "hydra_bstrap_pr", "pmi_proxy", "mpiexec.hydra", "mpirun", "mpiexec", "prterun", "prted",
    "prte", "orterun", "orted", "mpirun.openmpi", "mpiexec.openmpi", "orterun.openmpi",
    "slurmstepd", "palsd", "flux-shell", "jsmd",
}  # fmt: skip


#: Read early: a rank removes from its environment what its children must not see.
_container = os.environ.get(CONTAINER, "")


class Stat:
    """Number, state, parent and birth of a process, and whether it ends, as the kernel tells them."""

    def __init__(self, text: str) -> None:
        fields = text.rpartition(")")[2].split()  # https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
        self.pid = int(text.partition(" ")[0])
        self.state = fields[0]
        self.parent = int(fields[1])
        self.is_exiting = bool(int(fields[6]) & _EXITING)  # before it is a zombie its connections end
        self.born = fields[19]


def read_stat(pid: int) -> Stat | None:
    """Return a process's Stat, None if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return Stat(file.read())
    except OSError:
        return None


def is_gone(pid: int) -> bool:
    """Return whether a process has ended: one that is out of sight has not.

    Others' processes are so where /proc is mounted with hidepid, and all that are not in one's own pid namespace:
    https://www.kernel.org/doc/html/latest/filesystems/proc.html#mount-options
    """
    if pid < 1:  # the parent is outside of this namespace
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    stat = read_stat(pid)
    return stat is not None and stat.state in "ZX"


def kill_marked(token: str, *, trackers: bool = False, by: str = TOKEN) -> None:
    """Kill every process of this user on this node that carries the rank's mark in its environment.

    What ends by itself when nobody needs it any more is waited for: Python's resource trackers, which first remove the
    semaphores of processes that were killed, and the daemon of a rank without a launcher.

    trackers: also those that belong to this process, or to another one that is not killed
    by:       the variable with the mark
    """
    deadline: float | None = None  # from the first round on: a look at all processes may itself take long
    while marked := {pid for pid in pids() if pid != os.getpid() and _carries(pid, by, token)}:
        tracking = {pid for pid in marked if any(word in read(pid, "cmdline") for word in _LAST)}
        awaited = {pid for pid in tracking if trackers or _is_orphan(pid)}
        late = deadline is not None and time.monotonic() > deadline
        for pid in marked - tracking or (awaited if late else set()):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if late or (tracking == marked and not awaited):
            return
        deadline = deadline or time.monotonic() + _TRACKER
        time.sleep(0.01)


def _is_orphan(pid: int) -> bool:
    """Whether a tracker's own process has gone: it was another one's that was marked, too."""
    stat = read_stat(pid)
    parent = read_stat(stat.parent) if stat is not None and stat.parent > 1 else None
    return stat is not None and (parent is None or "python" not in read(parent.pid, "cmdline"))


def _carries(pid: int, variable: str, token: str) -> bool:
    return f"{variable}={token}" in read(pid, "environ").split("\0")


def name_process() -> None:
    """Give this process the name by which a watchdog is known, also after the launcher has inherited it."""
    with contextlib.suppress(OSError), open("/proc/self/comm", "w", encoding="utf-8") as file:
        file.write("mpidask-watch")


def program_name(pid: int) -> str:
    """Return the name of a process's program, at most 15 characters; empty if there is no such process."""
    return read(pid, "comm").strip()


def read(pid: int, file_name: str) -> str:
    """Return what a file of a process holds, empty where it cannot be read."""
    try:
        with open(f"/proc/{pid}/{file_name}", "rb") as file:
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def pids() -> list[int]:
    """Return all processes of this node."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def launchers_above(pid: int) -> list[Stat]:
    """Return the processes of the launcher that have started this one of it, such as a script that calls another.

    They are there as long as the run is: one that ends before has been killed.
    """
    found: list[Stat] = []
    stat = read_stat(pid)
    while stat is not None and stat.parent > 1:
        stat = read_stat(stat.parent)
        if stat is None or program_name(stat.pid) not in _LAUNCHER_NAMES:
            break
        found.append(stat)
    return found


def container_process() -> Stat | None:
    """Return the process on the node that stands for this rank, None where its parent does."""
    return read_stat(int(_container)) if _container.isdigit() else None


def launcher_of(parent: int) -> int:
    """Return the process that starts ranks and has started this one; its parent if there is none."""
    container = container_process()
    return launcher_process(container.pid if container else parent) or parent


def launcher_process(pid: int) -> int | None:
    """Climb from a rank's parent (it may be a wrapper script) to the process that starts ranks."""
    while pid > 0:
        if program_name(pid) in _LAUNCHER_NAMES:
            return pid
        stat = read_stat(pid)
        if stat is None:  # of a daemon that nobody may look at (hidepid) it is known only that it is there
            return None if is_gone(pid) else pid
        pid = stat.parent
    return None


def is_launcher(pid: int) -> bool:
    """Return whether a process is known as one that starts ranks."""
    return program_name(pid) in _LAUNCHER_NAMES
