"""`MPICluster`: a job of scheduler and workers as one of Dask's cluster objects."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import sys
import warnings
import weakref
from collections.abc import Generator
from typing import Any

from distributed.core import Status
from distributed.security import Security

from mpidask import batch, configuration, docstrings, status_line
from mpidask.attach import shutdown, spec, wait
from mpidask.attach.job_cluster import JobCluster
from mpidask.attach.wait import JobSearch
from mpidask.batch.registry import find_here
from mpidask.batch.submission.handles import Handle
from mpidask.config import as_keyword
from mpidask.errors import BatchError, UnclearError, linked
from mpidask.security import credentials, tls_sockets
from mpidask.security.scheduler_file import Entry

__all__ = ["MPICluster"]

_REFRESH = 10.0  # s between two looks at the job
_EXIT = 10.0  # s that a cluster may take to close at the interpreter's end

#: Those that may have to be closed at the interpreter's end.
_open: weakref.WeakSet[MPICluster] = weakref.WeakSet()


class MPICluster(JobCluster):
    """A Dask cluster that is one batch job: rank 0 hosts the scheduler, and all ranks host workers.

    The job starts when the object is made. Closing the cluster ends the job.

    Parameters
    ----------
    name : str, optional
        Name of the cluster and of the job.
    asynchronous : bool, default False
        The cluster is for use in an event loop: ``async with MPICluster(..., asynchronous=True)``.
    timeout : float or str, optional
        How long to wait for the job to start: seconds, or text such as ``"2 h"``. Default: as long as it takes.
    quiet : bool, default False
        Print no line on stderr about what is waited for.
    **others : Any
        Refused, with the keyword that may be meant.

    Attributes
    ----------
    job : Handle or None
        The job; None before it is submitted.
    entry : Entry or None
        What the scheduler's file says; None before the scheduler is up.

    Raises
    ------
    UsageError
        A keyword or a value cannot be used.
    BatchError
        The batch system refuses the job, or the job ends before it is of use.
    StartupError
        The time is up. The job is cancelled then.

    See Also
    --------
    connect : Connects to a job that is there.
    SLURMCluster : One job for each worker, or for a few: such a cluster scales.

    Examples
    --------
    >>> with MPICluster(nodes=4, cores_per_rank=32, walltime="1:00:00") as cluster:  # doctest: +SKIP
    ...     client = cluster.get_client()
    """

    scheduler_comm: Any
    status: Any

    def __init__(
        self,
        *,
        name: str | None = None,
        asynchronous: bool = False,
        timeout: float | str | None = None,
        quiet: bool = False,
        **others: Any,
    ) -> None:
        self.job: Handle | None = None
        self.entry: Entry | None = None
        self._timeout = timeout
        self._leaving = False  # at the interpreter's end no thread or process can be started
        self._starting = asyncio.Lock()
        self._ending = asyncio.Lock()
        if others.get("job_name") is None:
            others["job_name"] = name
        self._options, self._of_run = spec.divided(others)
        remark = configuration.remark(configuration.read(others.get("profile")).profiles)
        if remark and not quiet:
            warnings.warn(f"mpidask: {linked(remark, 'profiles-of-sites')}", UserWarning, stacklevel=2)
        job = spec.describe(self._options, self._of_run, as_keyword)
        self._resources = job.resources
        super().__init__(asynchronous=asynchronous, name=name, quiet=quiet)
        if not self.called_from_running_loop:
            try:
                self._submit()
                wait.reach(self._search(), lambda entry: self.sync(self._attach, entry), timeout=timeout, quiet=quiet)
            except BaseException:  # an interrupt, too: nobody has this object, and the job would go on without a use
                self._give_up()
                self.stop_loop()
                raise

    # Its start.

    def _submit(self) -> None:
        job = spec.describe(self._options, self._of_run)
        self.job = batch.submit(job, find_here(self._options.system), options=self._options, patient=True)
        if not self.quiet:
            idle = spec.idle_timeout(self._of_run)
            ends = "" if idle is None else f"; it ends by itself when nobody has used it for {idle}"
            taken = "is submitted" if self.job.id else "may have been submitted"
            status_line.report(f"job {self.job.title} {taken}{ends}")

    def _search(self) -> JobSearch:
        assert self.job is not None
        return JobSearch(self.job)

    async def _attach(self, entry: Entry) -> None:
        """Connect to the scheduler; raises OSError if it does not answer."""
        self.entry = entry
        tls_sockets.mend()
        self.security = Security() if entry.keys is None else entry.keys.security()
        self.scheduler_comm = shutdown.connection(entry)
        try:
            await self.connect()
        except OSError:
            await self.scheduler_comm.close_rpc()
            self.scheduler_comm = None
            raise
        credentials.remember(entry.address, entry.keys)  # for clients that get the address alone
        _open.add(self)
        self._refreshing = asyncio.ensure_future(self._refresh())

    async def _begin(self) -> None:
        async with self._starting:
            if self.status != Status.created:
                return
            try:
                await asyncio.to_thread(self._submit)
                await wait.reach_async(self._search(), self._attach, timeout=self._timeout, quiet=self.quiet)
            except BaseException:
                await asyncio.to_thread(self._give_up)
                raise

    def __await__(self) -> Generator[Any, None, MPICluster]:
        async def started() -> MPICluster:
            await self._begin()
            return self

        return started().__await__()

    def _give_up(self) -> None:
        """Cancel the job of a cluster that did not come up."""
        self.status = Status.closed
        if self.job is not None:
            try:
                record = self.job.record
                if not record.standing.final and (record.id or record.claimed is not None):
                    self.job.cancel()
            except UnclearError as error:  # somebody has to look after it
                sys.stderr.write(error.text())
            except BaseException as error:
                title = self.job.title
                sys.stderr.write(f"mpidask: job {title} may not be cancelled: mpidask cancel {self.job.id or title}\n")
                if not isinstance(error, BatchError):  # else what went wrong first is what is told
                    raise

    # What is said of it.

    async def _refresh(self) -> None:
        """Know how the job stands, and say when it has ended."""
        assert self.job is not None
        connected = asyncio.ensure_future(self._until_disconnected())
        try:
            while True:
                standing = await asyncio.to_thread(self.job.refresh)
                if standing.final:
                    sys.stderr.write(f"mpidask: {wait.ended(self.job.title, standing)}\n")
                    return
                await asyncio.wait([connected], timeout=_REFRESH)
                await asyncio.sleep(0.5)
        finally:
            connected.cancel()

    async def _until_disconnected(self) -> None:
        """Return when the scheduler has ended, or cannot be reached any more."""
        with contextlib.suppress(OSError):
            connection = await self.scheduler_comm.live_comm()
            await connection.read()  # it sends nothing

    # Its end.

    async def _end(self) -> None:
        async with self._ending:
            if self.status == Status.closed:
                return
            was_running = self.status == Status.running
            self.status = Status.closing
            try:
                await self._end_in_order(was_running=was_running)
            except BaseException:  # it can be closed again
                self.status = Status.running if was_running else Status.failed
                raise

    async def _end_in_order(self, *, was_running: bool) -> None:
        if was_running:
            self._refreshing.cancel()
            await shutdown.shut_down(self.scheduler_comm)
        self.leave_dashboard()
        if self.entry is not None:
            credentials.forget(self.entry.address)
        await super().close()
        _open.discard(self)
        self.scheduler_info["workers"].clear()
        if self.job is not None and not self._leaving:
            await asyncio.to_thread(shutdown.await_end, self.job, quiet=self.quiet)
            await asyncio.to_thread(self.job.refresh)  # so that what is shown of it is true

    def close(self, timeout: float | None = None) -> Any:
        """End the job gracefully; one that does not end is cancelled.

        Parameters
        ----------
        timeout : float, optional
            How long to wait at most, in s.

        Returns
        -------
        Awaitable or None
            With ``asynchronous=True`` an awaitable.
        """
        if self.status == Status.closed:
            return super().close(timeout)
        closing = None
        with contextlib.suppress(RuntimeError):  # the interpreter ends, and the event loop is closed
            closing = self.sync(self._end, callback_timeout=timeout)
        if not self.asynchronous:
            self.stop_loop()
        return closing

    async def __aexit__(self, *error: object) -> None:
        await self._end()

    def leave(self) -> None:
        """Ask the scheduler to shut down, without waiting: called at the interpreter's end."""
        self._leaving = True
        if not self.asynchronous:  # else its event loop is gone, and the idle timeout ends the job
            with contextlib.suppress(Exception):
                self.close(timeout=_EXIT)
            if self.status != Status.closed and self.job is not None:
                sys.stderr.write(f"mpidask: job {self.job.title} may go on: mpidask stop {self.job.id}\n")


docstrings.show_keywords(MPICluster, spec.KEYWORDS.values())


os.register_at_fork(after_in_child=_open.clear)  # their event loops are the parent's


@atexit.register
def _close_all() -> None:
    for cluster in list(_open):
        cluster.leave()
