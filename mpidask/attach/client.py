"""`connect`: a client of a job's scheduler, from any process of the same user."""

from __future__ import annotations

import os
from collections.abc import Awaitable
from typing import Any

from distributed import Client

from mpidask.attach import wait
from mpidask.security import credentials, tls_sockets
from mpidask.security.scheduler_file import Entry

__all__ = ["JobClient", "connect"]


class JobClient(Client):
    """Dask's client, which knows the scheduler's keys and where its dashboard is.

    entry: what the scheduler's file says
    """

    def __init__(self, entry: Entry, **options: Any) -> None:
        self.entry = entry
        tls_sockets.mend()
        if entry.keys is not None:
            credentials.remember(entry.address, entry.keys)  # for further clients of this process
            options = {"security": entry.keys.security(), **options}
        super().__init__(entry.address, timeout=wait.CONNECT, **options)

    @property
    def dashboard_link(self) -> str | None:
        """The dashboard's full link, on the loopback of the scheduler's node; None without one."""
        return self.entry.dashboard


def connect(
    job: str | int | os.PathLike[str] | None = None,
    *,
    timeout: float | str | None = None,
    quiet: bool = False,
    **client_options: Any,
) -> Any:
    """Return a client of a job's scheduler; waits for the job to start.

    job:            job id, run name, or the path of a scheduler file or of a run directory; None: the newest job of
                    `mpidask start`
    timeout:        s to wait at most, or such as '5 min'; None: as long as it takes
    quiet:          do not tell on stderr what is waited for
    client_options: further arguments of distributed.Client; with asynchronous=True what is returned is to be awaited
    Raises UsageError if there is no such job, BatchError with reason and last words of a job that has ended,
    StartupError if the time is up or nothing answers.
    """
    search = wait.find(job)
    if client_options.get("asynchronous"):
        return _connect_async(search, timeout, client_options, quiet=quiet)
    return wait.reach(search, lambda entry: JobClient(entry, **client_options), timeout=timeout, quiet=quiet)


async def _connect_async(
    search: wait.Search, timeout: float | str | None, options: dict[str, Any], *, quiet: bool
) -> JobClient:
    def make(entry: Entry) -> Awaitable[JobClient]:
        return JobClient(entry, **options)

    return await wait.reach_async(search, make, timeout=timeout, quiet=quiet)
