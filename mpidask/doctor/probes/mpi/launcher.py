"""Which mpirun a user gets who types it, and whether it belongs to the MPI library that mpi4py loads."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mpidask.doctor.finding import Finding, failure, ok, pip, warning
from mpidask.doctor.probe import Facts, Place, Probe, Scope
from mpidask.doctor.time_limit import share
from mpidask.launch.comm.mpi_library import family, loaded

_ANSWERS = 5.0  # of 60 s, for a command to print its version


def measure(_root: Path) -> dict[str, Any]:
    """Return the mpirun on PATH and the one beside the interpreter, with what they print of their version."""
    library = loaded()
    beside = os.path.join(os.path.dirname(sys.executable), "mpirun")
    return {
        "library": library.get("vendor", ""),
        "on_path": _launcher(shutil.which("mpirun") or ""),
        "beside": _launcher(beside if os.path.exists(beside) else ""),
        "srun": shutil.which("srun") or "",
    }


def _launcher(path: str) -> dict[str, str]:
    """Return path and version of a launcher; nothing for none."""
    if not path:
        return {}
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=share(_ANSWERS), check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"path": path, "text": "", "error": type(error).__name__}
    text = (done.stdout + done.stderr)[:2000]
    found = re.search(r"(?:Version:|\)|version)\s*(\d[\w.]*)", text)
    return {"path": path, "text": text, "version": found[1] if found else ""}


def judge(facts: Facts) -> Iterator[Finding]:
    """Find a launcher of another MPI, or none."""
    library, launcher, beside = facts["library"], facts["on_path"], facts["beside"]
    if not launcher:
        yield _none(facts)
        return
    title = f"{launcher['path']} ({family(launcher['text']) or 'of an unknown MPI'} {launcher.get('version', '')})"
    title = title.replace(" )", ")")
    if library and family(launcher["text"]) and family(launcher["text"]) != family(library):
        remedy = f"call {beside['path']}" if beside else f"load the module of {library}, or install mpi4py for this MPI"
        if beside:
            remedy += f", or put it first: export PATH={os.path.dirname(beside['path'])}:$PATH"
        yield failure(f"mpirun on PATH is {title}, but mpi4py loads {library}: each rank would be alone", remedy)
    elif not family(launcher["text"]):
        yield warning(f"mpirun on PATH is {title}", f"see that it belongs to {library or 'the MPI of mpi4py'}")
    else:
        yield ok(f"mpirun on PATH is {title}")


def _none(facts: Facts) -> Finding:
    beside = facts["beside"]
    if beside:
        folder = os.path.dirname(beside["path"])
        return warning("there is no mpirun on PATH", f"call {beside['path']}, or: export PATH={folder}:$PATH")
    if facts["srun"]:
        return ok(f"there is no mpirun on PATH; {facts['srun']} starts ranks")
    return warning("there is no mpirun on PATH", f"load your site's MPI module, or: {pip('mpich')}")


PROBE = Probe("mpirun", measure, judge, scope=Scope.ONCE, places=frozenset({Place.LOGIN}))
