"""The file that tells clients and workers from elsewhere where the scheduler is, with the keys.

Dask's own form (what ``Client(scheduler_file=...)`` reads), written in one go, readable by its user alone, with what
tells a run from another: its id, the batch system's job, the start.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import socket
import stat
from collections.abc import Mapping
from typing import Any

from mpidask.errors import StartupError
from mpidask.files import open_plain, replace, replace_json
from mpidask.run_directory import key_file
from mpidask.security.credentials import Keys

__all__ = ["About", "Entry", "read", "variables", "write"]

#: Dask's configuration of TLS, for clients and workers: https://distributed.dask.org/en/stable/tls.html.
_KEY_VARIABLES = [
    f"DASK_DISTRIBUTED__COMM__TLS__{name}"
    for name in ("CA_FILE", "CLIENT__CERT", "CLIENT__KEY", "WORKER__CERT", "WORKER__KEY")
]


@dataclasses.dataclass(frozen=True)
class Entry:
    """What a scheduler file says.

    address:      of the scheduler, for clients
    inner:        the same for workers; another one if clients have an address of their own
    scheduler:    Dask's id of it, "" if the file does not say
    origin:       job, host and start of its run, in words
    host:         the scheduler's node, "" if the file does not say
    keys:         None without TLS
    dashboard:    its link, on the loopback of that node; None without one
    idle_timeout: after which the cluster ends by itself, in words; None for never
    path:         of the file, "" if there is none
    run:          the run's id, "" if the file does not say
    """

    address: str
    inner: str = ""
    scheduler: str = ""
    origin: str = "of unknown origin"
    host: str = ""
    keys: Keys | None = None
    dashboard: str | None = None
    idle_timeout: str | None = None
    path: str = ""
    run: str = ""


@dataclasses.dataclass(frozen=True)
class About:
    """What a run writes there besides what its scheduler says of itself; fields as in `Entry`.

    run: its id
    job: the batch system's id of the job; None outside of one
    """

    run: str
    job: str | None = None
    clients: str | None = None
    keys: Keys | None = None
    dashboard: str | None = None
    idle_timeout: str | None = None


def write(path: str, identity: Mapping[str, Any], about: About) -> None:
    """Write the file, mode 0600, so that a reader sees all of it or none.

    identity: what the scheduler says of itself
    Raises StartupError if it cannot be written.
    """
    started = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    ours = {**dataclasses.asdict(about), "started": started, "host": socket.gethostname(), "inner": identity["address"]}
    try:
        replace_json(path, {**identity, "address": about.clients or identity["address"], "mpidask": ours})
    except OSError as error:
        raise StartupError(
            f"the scheduler file {path} cannot be written: {error.strerror}", "choose another place for it"
        ) from error


def read(path: str) -> Entry:
    """Return what a scheduler file says; raises StartupError for one that cannot be used.

    Another user's is refused (not root's): who follows it runs that user's code. So is one with keys that others could
    have read.
    """
    try:
        with open_plain(path) as file:
            status = os.fstat(file.fileno())
            content = json.load(file)
        address = str(content["address"])
        about = content.get("mpidask") or {}
        keys = Keys(**about["keys"]) if about.get("keys") else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StartupError(
            f"{path} is not a scheduler file: {type(error).__name__}: {error}",
            "give the file that the run with the scheduler writes (--scheduler-file)",
        ) from error
    if status.st_uid not in (os.getuid(), 0):
        raise StartupError(
            f"{path} is another user's, who could run code as you", "use a file that your own run has written"
        )
    if keys is not None:
        _check_private(path, status)
    return Entry(
        address=address,
        inner=str(about.get("inner") or address),
        scheduler=str(content.get("id", "")),
        origin=_origin(about),
        host=str(about.get("host", "")),
        keys=keys,
        dashboard=about.get("dashboard"),
        idle_timeout=about.get("idle_timeout"),
        path=os.path.abspath(path),
        run=str(about.get("run", "")),
    )


def variables(entry: Entry) -> dict[str, str]:
    """Return the environment variables with which plain Dask joins that cluster; its keys are in a file then.

    The file, mode 0600, is beside the scheduler file, and the run removes both at its end.
    Raises StartupError if it cannot be written.
    """
    found = {"DASK_SCHEDULER_ADDRESS": entry.address}
    if entry.keys is None:
        return found
    path = key_file(entry.path)
    try:
        # What is outside of the marks is a comment.
        replace(path, f"mpidask run {entry.run}\n{entry.keys.certificate}{entry.keys.key}")
    except OSError as error:
        raise StartupError(
            f"the key file {path} cannot be written: {error.strerror}",
            "plain Dask needs it; `mpidask connect` and mpidask.connect(...) do without",
        ) from error
    return found | dict.fromkeys(_KEY_VARIABLES, path) | {"DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "true"}


def _check_private(path: str, status: os.stat_result) -> None:
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise StartupError(
            f"{path} holds keys, and others may read or change it (mode {stat.S_IMODE(status.st_mode):o})",
            f"start another run, and keep its file to yourself: chmod 600 {path} does not undo that it was open",
        )


def _origin(about: Mapping[str, Any]) -> str:
    parts = [f"job {about['job']}"] if about.get("job") else []
    parts += [f"on {about['host']}"] if about.get("host") else []
    parts += [f"started {about['started']}"] if about.get("started") else []
    parts += [f"run {about['run']}"] if about.get("run") else []
    return ", ".join(parts) or "of unknown origin"
