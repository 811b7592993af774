"""Session: a Dask cluster on the ranks of a communicator, in a program that goes on afterwards."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from mpidask.config import Options
from mpidask.docstrings import keyword_of, show_keywords
from mpidask.launch.cluster.run import GivenOptions, OptionsRequest
from mpidask.launch.comm.polling import wait, wait_async
from mpidask.launch.exit_hook import EXIT_HOOK
from mpidask.launch.session_rank import SessionRank
from mpidask.security import credentials

if TYPE_CHECKING:
    from mpi4py import MPI

__all__ = ["Session"]


class _NotTheClientError(Exception):
    """Ends the body of a `with` on ranks that are not the client's."""


class Session:
    """A Dask cluster on the ranks of a communicator, in a program that goes on afterwards.

    Every rank of the communicator opens the session; one of them hosts the scheduler, one is the client, the rest are
    workers. The client's rank goes on at once. The others serve until it closes the session, then they go on as well.
    On the other ranks whatever needs the scheduler's address, such as ``Client(session)``, skips the rest of the
    ``with``; `is_client` says who is who. ``async with`` works as well.

    While the session is open the walltime of the batch job is watched, on the client's rank: see `on_walltime`. What
    the ranks print stays where it is; with `exit` it goes to the rank's log in the run directory, if the job has one.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm, optional
        Communicator whose ranks take part; the session uses a duplicate of it. Default: all ranks (COMM_WORLD).
    exit : bool, default False
        True: the cluster stays until the script has ended, and the other ranks' processes end then.
    **options : Any
        Refused, with the keyword that may be meant. All above are the options of ``mpidask run``. Default: Dask's
        configuration (section mpidask), or detected on the machine.

    Attributes
    ----------
    is_client : bool
        Whether this rank is the client's.
    exit : bool
        As given.

    Raises
    ------
    UsageError
        An option cannot be used; when the session is opened, on all ranks.
    WorldTooSmallException
        There are too few ranks; on all ranks.
    StartupError
        The cluster does not come up; on all ranks.
    WalltimeError
        There is no time left for a cluster; on all ranks.

    See Also
    --------
    initialize : A cluster for the rest of the script.

    Examples
    --------
    >>> with mpidask.Session() as session, Client(session) as client:  # doctest: +SKIP
    ...     client.submit(sum, [1, 2]).result()  # on the client's rank alone
    3
    >>> MPI.COMM_WORLD.barrier()  # all ranks  # doctest: +SKIP
    """

    def __init__(self, *, comm: MPI.Intracomm | None = None, exit: bool = False, **options: Any) -> None:  # noqa: A002 - dask_mpi's word
        self.exit = exit
        self._rank = SessionRank(GivenOptions(options), comm, exit=exit)

    @classmethod
    def of(
        cls, request: OptionsRequest, *, comm: MPI.Intracomm | None, leave: bool, with_client: bool = True
    ) -> Session:
        """Return a session whose options are what a request makes of the number of ranks, on rank 0.

        Parameters
        ----------
        request : OptionsRequest
            What has been asked for.
        comm : mpi4py.MPI.Intracomm or None
            Communicator whose ranks take part; None for all ranks.
        leave : bool
            The other ranks' processes end with the session.
        with_client : bool, default True
            False: a cluster without a client's rank, which ends when a client from elsewhere shuts it down.

        Returns
        -------
        Session
            It is not open yet.
        """
        session = cls(comm=comm, exit=leave)
        session._rank = SessionRank(request, comm, exit=leave, with_client=with_client)
        return session

    @property
    def is_client(self) -> bool:
        """Whether this rank is the client's."""
        return self._rank.is_client

    # ----------------------------------------------------------------- opening
    def open(self) -> Self:
        """Open the session; return on the client's rank at once, on the others when it has ended.

        Returns
        -------
        Session
            This session.

        Raises
        ------
        MpidaskError
            The cluster does not come up; the same error on all ranks.
        """
        self._rank.open()
        return self

    async def open_async(self) -> Self:
        """Open the session from within an event loop, in which the other ranks serve.

        Returns
        -------
        Session
            This session.

        Raises
        ------
        MpidaskError
            The cluster does not come up; the same error on all ranks.
        """
        await self._rank.open_async()
        return self

    # ----------------------------------------------------------------- closing
    def close(self) -> Awaitable[None] | None:
        """Close the cluster and release the other ranks; nothing happens the second time.

        With `exit` the script's end closes it.

        Returns
        -------
        Awaitable or None
            Inside an event loop an awaitable.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            wait(self._rank.close())
            return None
        return wait_async(self._rank.close())

    # ------------------------------------------------------------- what Dask asks of a cluster
    @property
    def scheduler_address(self) -> str:
        """Address of the scheduler; on other ranks than the client's it skips the rest of the `with`."""
        if self._rank.cluster is None:
            raise _NotTheClientError
        return self._rank.cluster.address

    @property
    def security(self) -> Any:
        """What a client needs to be let in; None without TLS, or with keys of the user's own."""
        return credentials.security_of(self._rank.cluster.contact) if self._rank.cluster is not None else None

    @property
    def dashboard_link(self) -> str | None:
        """Address of the dashboard, on the client's rank; None if there is none."""
        return self._rank.cluster.dashboard if self._rank.cluster is not None else None

    @property
    def status(self) -> Any:
        """Dask's status of the cluster: running or closed."""
        from distributed import Status

        return Status.running if self._rank.cluster is not None and not self._rank.cluster.closed else Status.closed

    def __await__(self) -> Generator[Any, None, Self]:
        """Return the session: a client awaits its cluster."""

        async def _() -> Self:
            return self

        return _().__await__()

    # ----------------------------------------------------------------- as a context
    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        _remember(error)
        wait(self._rank.close())
        return isinstance(error, _NotTheClientError)

    async def __aenter__(self) -> Self:
        return await self.open_async()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        _remember(error)
        await wait_async(self._rank.close())
        return isinstance(error, _NotTheClientError)


show_keywords(Session, map(keyword_of, dataclasses.fields(Options)))


def _remember(error: BaseException | None) -> None:
    """Keep the exit status of what leaves a session in disorder, should nobody catch it."""
    if isinstance(error, SystemExit):
        EXIT_HOOK.failed = error.code if isinstance(error.code, int) else int(error.code is not None)
