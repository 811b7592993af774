"""`connect`: a client of a job's scheduler, from any process of the same user."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import Any

from dask.typing import no_default
from distributed import Client
from distributed.security import Security

from mpidask.attach import shutdown, wait
from mpidask.dashboard.notebook import DashboardWay
from mpidask.docstrings import described
from mpidask.security import credentials, tls_sockets
from mpidask.security.scheduler_file import Entry

__all__ = ["JobClient", "answering", "connect"]


async def answering(entry: Entry) -> Entry:
    """Return it if that scheduler answers, with its keys; raises OSError if none does, or another one."""
    tls_sockets.mend()
    async with asyncio.timeout(2 * wait.CONNECT), contextlib.AsyncExitStack() as stack:
        scheduler = shutdown.connection(entry)
        stack.push_async_callback(scheduler.close_rpc)
        about = await scheduler.identity()
    if entry.scheduler and about["id"] != entry.scheduler:
        raise ConnectionError(f"another scheduler answers there: {about['id']}, not {entry.scheduler}")
    return entry


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
        self._way: DashboardWay | None = None
        tls_sockets.mend()
        if entry.keys is not None:
            credentials.remember(entry.address, entry.keys)  # for further clients of this process
            options = {"security": entry.keys.security(), **options}
        super().__init__(entry.address, **options)

    @property
    def dashboard_link(self) -> str | None:
        """The dashboard's link, None without one: in JupyterLab below its address, else on the scheduler's node."""
        if self.entry.dashboard is None:
            return None
        if self._way is None:
            self._way = DashboardWay(self.entry.address, self.security, self.loop)
        return self._way.link(self.entry.dashboard, self.entry.host)

    def close(self, timeout: Any = no_default) -> Any:
        """Close the connection, and the port that leads to the dashboard.

        Parameters
        ----------
        timeout : float or str, optional
            How long to wait for Dask's own tasks at most.

        Returns
        -------
        Awaitable or None
            With ``asynchronous=True`` an awaitable.
        """
        if self._way is not None:
            self._way.close()
        return super().close(timeout)


#: What `connect` takes: numpydoc's type, and the meaning.
_PARAMETERS = {
    "job": (
        "str, int or path",
        "Job id, run name, path of a scheduler file or of a run directory. Default: the newest job of `mpidask start`.",
    ),
    "timeout": (
        "float or str",
        'How long to wait at most: seconds, or text such as ``"5 min"``. Default: as long as it takes.',
    ),
    "quiet": ("bool", "Print no line on stderr about what is waited for."),
    "asynchronous": ("bool", "The client is for use in an event loop: await what is returned."),
    "name": ("str", "Name of the client in the scheduler's logs."),
    "set_as_default": ("bool", "Have ``compute()`` without a client use this one."),
    "direct_to_workers": ("bool", "Connect to workers directly, or through the scheduler. Default: Dask decides."),
    "heartbeat_interval": (
        "int or str",
        'Time between two heartbeats to the scheduler: milliseconds, or text such as ``"5 s"``.',
    ),
    "security": ("distributed.Security", "Keys for TLS. Default: those in the scheduler's file."),
    "client_options": ("Any", "Further arguments of `distributed.Client`."),
}


@described(_PARAMETERS)
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
    optional: dict[str, Any] = {"name": name, "direct_to_workers": direct_to_workers}
    optional |= {"heartbeat_interval": heartbeat_interval, "security": security}
    given = {option: value for option, value in optional.items() if value is not None}
    options = {"asynchronous": asynchronous, "set_as_default": set_as_default, **given, **client_options}
    return _connect(wait.find(job), timeout, options, quiet=quiet)


def _connect(search: wait.Search, timeout: float | str | None, options: dict[str, Any], *, quiet: bool) -> Any:
    """Return a client with these options of Dask's, or an awaitable of one if these say so."""

    def make(entry: Entry) -> Any:
        return JobClient(entry, **options)

    if options["asynchronous"]:
        return wait.reach_async(search, make, timeout=timeout, quiet=quiet)
    return wait.reach(search, make, timeout=timeout, quiet=quiet)
