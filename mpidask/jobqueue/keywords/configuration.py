"""The section ``jobqueue`` of dask.config, as in dask-jobqueue: defaults, and a commented file."""

from __future__ import annotations

import contextlib
import os
import tempfile

import dask.config

from mpidask.jobqueue.keywords import table

__all__ = ["install"]


def install() -> None:
    """Make the defaults known to dask.config; write ``jobqueue.yaml``, commented, if the user has none."""
    dask.config.update_defaults({"jobqueue": table.defaults()})
    directory = dask.config.PATH
    if os.path.exists(os.path.join(directory, "jobqueue.yaml")):
        return
    with contextlib.suppress(OSError), tempfile.TemporaryDirectory() as scratch:
        source = os.path.join(scratch, "jobqueue.yaml")
        with open(source, "w", encoding="utf-8") as file:
            file.write(table.template())
        dask.config.ensure_file(source=source, comment=True)
