"""On which kinds of file systems the directories of a run are, and where it would spill."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mpidask.doctor.finding import Finding, Level, failure, ok, warning
from mpidask.doctor.probe import Facts, Probe


def measure(root: Path) -> dict[str, Any]:
    """Return the kind of each directory's file system, and the scratch directory that a run would take."""
    from mpidask.errors import MpidaskError
    from mpidask.launch.resources.hardware import NETWORK_FILE_SYSTEMS, file_system, scratch_candidates
    from mpidask.options.loading import load

    kinds = {
        "working directory": os.getcwd(),
        "home": os.path.expanduser("~"),
        "environment": sys.prefix,
    }
    scratch, wanted = "", next(filter(os.path.isdir, scratch_candidates(os.environ)), "/tmp")
    error = ""
    try:
        from mpidask.launch.resources.scratch import choose

        options = load({})
        scratch = choose(options.local_directory, os.environ, shared=options.shared_scratch, root=root)
    except MpidaskError as raised:
        error = raised.what
    return {
        "places": {name: [path, file_system(path, root)] for name, path in kinds.items()},
        "scratch": [scratch, file_system(scratch, root) if scratch else ""],
        "wanted": [wanted, file_system(wanted, root)],
        "network": sorted(NETWORK_FILE_SYSTEMS),
        "error": error,
    }


def judge(facts: Facts) -> Iterator[Finding]:
    """Find a run without a node-local directory to spill to."""
    yield ok(", ".join(f"{name} {path} ({kind or 'unknown'})" for name, (path, kind) in facts["places"].items()))
    (wanted, kind), (scratch, of) = facts["wanted"], facts["scratch"]
    remedy = "name a node-local directory: --local-directory /local/$USER, or local-directory in mpidask.yaml"
    if facts["error"]:
        yield failure(f"there is no node-local directory to spill to: {facts['error']}", remedy)
    elif of in facts["network"]:
        yield warning(f"workers spill to {scratch}, a network file system ({of})", remedy)
    elif kind in facts["network"]:
        yield warning(
            f"scratch {wanted} is on a network file system ({kind}); workers spill to {scratch} ({of}) instead", remedy
        )
    else:
        yield ok(f"workers spill to {scratch} ({of or 'unknown'})")


PROBE = Probe("file systems", measure, judge, silence=Level.FAILURE)
