"""`connect`: a client of a job's scheduler, from any process of the same user."""

from __future__ import annotations

import os
from collections.abc import Awaitable
from typing import Any

from distributed import Client
from distributed.security import Security

from mpidask.attach import wait
from mpidask.security import credentials, tls_sockets
from mpidask.security.scheduler_file import Entry

__all__ = ["JobClient", "connect"]


class JobClient(Client):
    """Dask's client, which has the scheduler's keys and the link to its dashboard.

    Parameters
    ----------
    entry : Entry
        What the scheduler's file says.
    **options : Any
        Further arguments of `distributed.Client`.
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


def connect(  # noqa: PLR0913 - what editors are to show
    job: str | int | os.PathLike[str] | None = None,
    *,
    timeout: float | str | None = None,
    quiet: bool = False,
    asynchronous: bool = False,
    name: str | None = None,
    set_as_default: bool = True,
    direct_to_workers: bool | None = None,
    heartbeat_interval: int | str | None = None,
    security: Security | None = None,
    **client_options: Any,
) -> Any:
    """Return a client of a job's scheduler; wait for the job to start.

    Parameters
    ----------
    job : str, int or path, optional
        Job id, run name, or the path of a scheduler file or of a run directory. Default: the newest job of
        ``mpidask start`` that has not ended.
    timeout : float or str, optional
        How long to wait at most: seconds, or text such as ``"5 min"``. Default: as long as it takes.
    quiet : bool, default False
        Print no line on stderr about what is waited for.
    asynchronous : bool, default False
        The client is for use in an event loop: await what is returned.
    name : str, optional
        Name of the client in the scheduler's logs.
    set_as_default : bool, default True
        Have ``compute()`` without a client use this one.
    direct_to_workers : bool, optional
        Connect to workers directly, or through the scheduler. Default: Dask decides.
    heartbeat_interval : int or str, optional
        Time between two heartbeats to the scheduler: milliseconds, or text such as ``"5 s"``.
    security : distributed.Security, optional
        Keys for TLS. Default: those in the scheduler's file.
    **client_options : Any
        Further arguments of `distributed.Client`.

    Returns
    -------
    distributed.Client
        A connected client; with ``asynchronous=True`` an awaitable of one.

    Raises
    ------
    UsageError
        There is no such job.
    BatchError
        The job has ended; the error has the reason and the last lines of its log.
    StartupError
        The time is up, or the scheduler does not answer. The job goes on.

    See Also
    --------
    MPICluster : Submits the job as well.

    Examples
    --------
    >>> client = mpidask.connect("4711")  # doctest: +SKIP
    >>> client = mpidask.connect("cluster.json", timeout="10 min")  # doctest: +SKIP
    """
    given = {
        "name": name,
        "direct_to_workers": direct_to_workers,
        "heartbeat_interval": heartbeat_interval,
        "security": security,
    }
    options = {option: value for option, value in given.items() if value is not None}
    options |= {"asynchronous": asynchronous, "set_as_default": set_as_default, **client_options}
    search = wait.find(job)
    if asynchronous:
        return _connect_async(search, timeout, options, quiet=quiet)
    return wait.reach(search, lambda entry: JobClient(entry, **options), timeout=timeout, quiet=quiet)


async def _connect_async(
    search: wait.Search, timeout: float | str | None, options: dict[str, Any], *, quiet: bool
) -> JobClient:
    def make(entry: Entry) -> Awaitable[JobClient]:
        return JobClient(entry, **options)

    return await wait.reach_async(search, make, timeout=timeout, quiet=quiet)
