"""What earlier runs have left: directories, shared memory, jobs of clusters whose program has ended."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mpidask.doctor.finding import Finding, ok, warning
from mpidask.doctor.probe import Facts, Probe

_SEGMENTS = re.compile(r"(mpich_shm_|sm_segment|ucx_shm_|vader_segment|psm2_shm|osc_sm|sem\.mp-)")


def measure(root: Path) -> dict[str, Any]:
    """Return directories of dead runs, shared memory that no process has mapped, and clusters that were not closed."""
    from mpidask.batch import leases
    from mpidask.launch.resources.hardware import listing, scratch_candidates
    from mpidask.launch.resources.scratch import left_over

    names = [name for name in listing(root / "dev/shm") if _SEGMENTS.match(name)]
    mine = {name: place for name in names if (place := _place(root / "dev/shm" / name)) is not None}
    mapped = _mapped(root) if mine else set()
    return {
        "directories": left_over(scratch_candidates(os.environ)),
        "segments": [name for name, place in mine.items() if place not in mapped],
        "orphans": [each.directory.name for each in leases.orphans()],
    }


def _place(path: Path) -> tuple[str, str] | None:
    """Return device and inode of a file, as the kernel writes them in `maps`; None if it is another user's."""
    try:
        about = path.lstat()
    except OSError:
        return None
    if about.st_uid != os.getuid():
        return None
    return f"{os.major(about.st_dev):02x}:{os.minor(about.st_dev):02x}", str(about.st_ino)


def _mapped(root: Path) -> set[tuple[str, str]]:
    """Return device and inode of shared-memory files that are mapped: the C library names a semaphore later."""
    found: set[tuple[str, str]] = set()
    for entry in os.scandir(root / "proc"):
        if entry.name.isdigit():
            try:
                text = Path(entry.path, "maps").read_text(errors="replace")
            except OSError:
                continue
            lines = (line.split() for line in text.splitlines() if "/dev/shm/" in line)
            found |= {(words[3], words[4]) for words in lines}
    return found


def judge(facts: Facts) -> Iterator[Finding]:
    """Find what takes space and is of no use; a run removes what its own predecessors have left."""
    directories, segments, orphans = facts["directories"], facts["segments"], facts["orphans"]
    if directories:
        yield warning(
            f"{len(directories)} directories of ended runs are left, such as {directories[0]}",
            f"the next run on this node removes them, or: rm -r {' '.join(directories[:3])}",
        )
    if segments:
        names = " ".join(f"/dev/shm/{name}" for name in segments[:3])
        yield warning(f"{len(segments)} shared-memory files of ended runs are left", f"rm {names}")
    if orphans:
        yield warning(
            f"{len(orphans)} clusters have lost their program, such as {orphans[0]}: their jobs may still run",
            "mpidask cancel --orphans",
        )
    if not directories and not segments and not orphans:
        yield ok("earlier runs have left nothing")


PROBE = Probe("earlier runs", measure, judge)
