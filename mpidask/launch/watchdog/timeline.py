"""The marks of a process for --timeline, and the files to which they are written, one per node.

Imports nothing but the standard library's smallest modules: it runs on a rank before MPI_Init. Each mark is appended at
once, so that a process that is killed leaves those it has come to.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time

__all__ = ["Marks", "finish", "part"]

_SAID = "mpidask: timeline: "


def part(file: str, run: str) -> str:
    """Return this node's part of a timeline."""
    return f"{_parts(file, run)}{os.uname().nodename}.part"


def _parts(file: str, run: str) -> str:
    """Return what the names of all parts begin with."""
    return f"{file}.{run[:8]}."


class Marks:
    """What a process has come to the end of, and when.

    part:  file to which they are written, "" as long as it is not known
    whole: timeline and run, on the rank that is to write it
    """

    def __init__(self, process: str, rank: int) -> None:
        self.part = ""
        self.whole: tuple[str, str] | None = None
        self._process, self._rank, self._pid = process, rank, 0
        self._kept: list[tuple[str, ...]] = []  # not written yet

    def become(self, process: str, rank: int) -> None:
        """Be another one from here on: forked, or told what it is for."""
        self._process, self._rank = process, rank

    def write_to(self, file: str, rank: int) -> None:
        """Write to that file what there is, and what comes."""
        self.part, self._rank = file, rank
        with contextlib.suppress(OSError):  # it is missing in the timeline then
            os.close(os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._write()

    def add(self, name: str, kind: str) -> None:
        """Take note of one, and write it where that is known."""
        now, used, queued = time.clock_gettime(time.CLOCK_BOOTTIME), time.process_time(), _queued()
        if os.getpid() != self._pid:
            self._begin()
        self._keep(kind, now, used, queued, name)
        self._write()

    def _begin(self) -> None:
        """In a new process, which may be a fork: note when it was born, and what this node's clock says."""
        self._pid, self._kept = os.getpid(), []
        offset = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        self._keep("start", _born(), 0.0, 0.0, f"{offset:.6f}")

    def _keep(self, kind: str, *values: float | str) -> None:
        self._kept.append((kind, *(each if isinstance(each, str) else f"{each:.6f}" for each in values)))

    def _write(self) -> None:
        """Append what is kept, each mark as a line, unless the timeline has been written already."""
        if not self.part:
            return
        about = (str(self._rank), str(self._pid), " ".join(self._process.split()))
        text = "".join("\t".join((*about, *each)) + "\n" for each in self._kept)
        self._kept.clear()
        with contextlib.suppress(OSError):
            descriptor = os.open(self.part, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            try:
                os.write(descriptor, text.encode())
            finally:
                os.close(descriptor)


def _born() -> float:
    """Return when this process was started or forked, in s since the node's."""
    with open("/proc/self/stat", encoding="utf-8", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


def _queued() -> float:
    """Return for how many s the main thread has waited for a core: https://docs.kernel.org/scheduler/sched-stats.html."""
    try:
        with open("/proc/self/schedstat", encoding="ascii") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


def finish(file: str, run: str) -> None:
    """Write the timeline from its parts, which are removed, and print the longest waits; never raises."""
    from mpidask.launch.watchdog import trace, waiting

    directory, beginning = os.path.split(_parts(file, run))
    try:
        names = [name for name in os.listdir(directory) if name.startswith(beginning) and name.endswith(".part")]
        lines = {name[len(beginning) : -len(".part")]: _taken(os.path.join(directory, name)) for name in names}
        spans = trace.spans(lines)
        with open(f"{file}.new", "w", encoding="utf-8") as new:
            new.write(trace.text(spans))
        os.replace(f"{file}.new", file)
    except (OSError, ValueError) as error:
        said = [f"{file} cannot be written: {error}"]
    else:
        said = [f"{file}, which https://ui.perfetto.dev and chrome://tracing show; the longest waits:"]
        said += trace.waits(spans)
    if not waiting.is_quiet(sys.argv[1:]):
        with contextlib.suppress(OSError):
            os.write(2, "".join(f"{_SAID}{line}\n" for line in said).encode())


def _taken(file: str) -> list[str]:
    """Return the lines of a part, and remove it: what comes later is not written."""
    with open(file, encoding="utf-8", errors="replace") as text:
        lines = text.read().split("\n")
    os.unlink(file)
    return lines
