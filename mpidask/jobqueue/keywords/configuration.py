"""The section ``jobqueue`` of dask.config, as in dask-jobqueue: defaults, and a commented file."""

from __future__ import annotations

import contextlib
import os
import tempfile
from typing import Any

import dask.config

from mpidask.jobqueue.keywords.table import SECTIONS, known

__all__ = ["defaults", "install", "template"]


def defaults() -> dict[str, Any]:
    """Return the section ``jobqueue`` of the configuration: batch system -> key -> default."""
    return {system: {each.path: each.default_of(system) for each in known(system)} for system in SECTIONS}


def template() -> str:
    """Return the file ``jobqueue.yaml`` with these defaults, each with its explanation."""
    import yaml

    lines = ["jobqueue:"]
    for system in SECTIONS:
        lines.append(f"  {system}:")
        for each in known(system):
            value = yaml.safe_dump(each.default_of(system), default_flow_style=True).splitlines()[0]
            lines.append(f"    {each.path}: {value}  # {each.help}")
        lines.append("")
    return "\n".join(lines)


def install() -> None:
    """Make the defaults known to dask.config; write ``jobqueue.yaml``, commented, if the user has none."""
    dask.config.update_defaults({"jobqueue": defaults()})
    directory = dask.config.PATH
    if os.path.exists(os.path.join(directory, "jobqueue.yaml")):
        return
    with contextlib.suppress(OSError), tempfile.TemporaryDirectory() as scratch:
        source = os.path.join(scratch, "jobqueue.yaml")
        with open(source, "w", encoding="utf-8") as file:
            file.write(template())
        dask.config.ensure_file(source=source, comment=True)
