"""Whether mpirun starts two ranks that know each other."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mpidask.doctor.finding import Finding, failure, ok, warning
from mpidask.doctor.probe import Facts, Place, Probe, Scope
from mpidask.doctor.time_limit import share
from mpidask.launch.watchdog.launcher_environment import rank_identity

_LONGEST = 20.0  # of 60 s

# One write for each rank: what ranks print in several is mixed by the launcher where Python does not buffer it.
_CODE = """
import os
from mpi4py import MPI
os.write(1, b"<rank %d of %d>\\n" % (MPI.COMM_WORLD.Get_rank(), MPI.COMM_WORLD.Get_size()))
"""
_RANK = re.compile(r"<rank \d+ of (\d+)>")


def measure(_root: Path) -> dict[str, Any]:
    """Return what two ranks print of themselves, or why there is nothing."""
    launcher = shutil.which("mpirun") or os.path.join(os.path.dirname(sys.executable), "mpirun")
    if not os.path.exists(launcher):
        return {"launcher": "", "sizes": [], "error": ""}
    environ = {**os.environ, "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe"}  # a login node may have a core
    environ = {**environ, "OMPI_MCA_rmaps_base_oversubscribe": "1"}  # the same for Open MPI 4
    for name in rank_identity(list(environ)):
        del environ[name]
    try:
        done = subprocess.run(  # noqa: S603
            [launcher, "-n", "2", sys.executable, "-c", _CODE],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=share(_LONGEST),
            check=False,
            env=environ,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"launcher": launcher, "sizes": [], "error": f"{type(error).__name__} ({share(_LONGEST):g} s at most)"}
    sizes = [int(size) for size in _RANK.findall(done.stdout)]
    lines = [line for line in (done.stderr or done.stdout).splitlines() if re.search(r"\w", line)]
    said = lines[:6] or [f"it printed nothing, status {done.returncode}"]
    return {"launcher": launcher, "sizes": sizes, "error": "" if sizes == [2, 2] else "\n".join(said)}


def judge(facts: Facts) -> Iterator[Finding]:
    """Find ranks that are alone; an mpirun that starts nothing may be forbidden on login nodes."""
    if facts["sizes"] == [2, 2]:
        yield ok(f"{facts['launcher']} -n 2 starts two ranks that know each other")
    elif 1 in facts["sizes"]:
        yield failure(
            f"{facts['launcher']} -n 2 starts ranks that believe to be alone (sizes {facts['sizes']})",
            "use the mpirun of the MPI library that mpi4py loads: see the lines MPI library and mpirun",
        )
    elif facts["launcher"]:
        yield warning(
            f"{facts['launcher']} -n 2 starts no two ranks here: {facts['error'].splitlines()[0]}",
            "where login nodes do not allow it: mpidask doctor --submit",
        )


PROBE = Probe("MPI start", measure, judge, scope=Scope.ONCE, places=frozenset({Place.LOGIN}), seconds=_LONGEST + 5)
