"""The file that tells clients and workers from elsewhere where the scheduler is.

Dask's own form (what ``Client(scheduler_file=...)`` reads), written in one go, readable by its user alone, with what
tells a run from another: its id, the batch system's job, the start.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import socket
from collections.abc import Mapping
from typing import Any

from mpidask.errors import StartupError
from mpidask.files import replace_json
from mpidask.launch.environment import job_id

__all__ = ["Entry", "read", "write"]


@dataclasses.dataclass(frozen=True)
class Entry:
    """What a scheduler file says.

    address:   of the scheduler
    scheduler: Dask's id of it, "" if the file does not say
    origin:    job, host and start of its run, in words
    """

    address: str
    scheduler: str
    origin: str


def write(path: str, identity: Mapping[str, Any], run: str) -> None:
    """Write the file, mode 0600, so that a reader sees all of it or none.

    identity: what the scheduler says of itself
    run:      id of the run
    Raises StartupError if it cannot be written.
    """
    started = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    about = {"run": run, "job": job_id(os.environ), "started": started, "host": socket.gethostname()}
    try:
        replace_json(path, {**identity, "mpidask": about})
    except OSError as error:
        raise StartupError(
            f"the scheduler file {path} cannot be written: {error.strerror}", "choose another place for it"
        ) from error


def read(path: str) -> Entry:
    """Return what a scheduler file says; raises StartupError for one that cannot be used."""
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
        address = str(content["address"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StartupError(
            f"{path} is not a scheduler file: {type(error).__name__}: {error}",
            "give the file that the run with the scheduler writes (--scheduler-file)",
        ) from error
    about = content.get("mpidask") or {}
    parts = [f"job {about['job']}"] if about.get("job") else []
    parts += [f"on {about['host']}"] if about.get("host") else []
    parts += [f"started {about['started']}"] if about.get("started") else []
    parts += [f"run {about['run']}"] if about.get("run") else []
    return Entry(address, str(content.get("id", "")), ", ".join(parts) or "of unknown origin")
