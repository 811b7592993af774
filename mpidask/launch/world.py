"""The ranks of the run and how they meet: the only module that imports mpi4py.

MPI serves to bootstrap and to end. Every wait is a nonblocking operation and a sleep: a blocking
collective would burn a core on every rank that waits for the slowest one.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import itertools
import os
import pickle
import socket
import sys
import time
from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from mpidask.errors import MpidaskError, StartupError
from mpidask.launch import complaints
from mpidask.launch.environment import (
    launcher_rank,
    launcher_size,
    local_size,
    rank_identity,
)
from mpidask.launch.roles import VITAL, Role
from mpidask.launch.segments import remove

if TYPE_CHECKING:
    from mpi4py import MPI

    from mpidask.launch.guardian import Guardian

__all__ = ["World", "wait", "wait_async"]

T = TypeVar("T")

#: A protocol step: yields while it waits, returns its result.
Steps = Generator[None, None, T]

_FIRST_SLEEP, _LONGEST_SLEEP = 0.001, 0.05  # s between two looks at a pending operation
_LAST_WORD = 5.0  # s that the other ranks get to leave by themselves after a failed start


def _sleeps() -> Generator[float, None, NoReturn]:
    """Yield the sleeps of a patient wait: short at first, then long enough to cost nothing."""
    sleep = _FIRST_SLEEP
    while True:
        yield sleep
        sleep = min(sleep * 1.5, _LONGEST_SLEEP)


def wait(steps: Steps[T]) -> T:
    """Run a protocol step to its end, sleeping between looks."""
    for sleep in _sleeps():
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]  # PEP 380's value has no type
        time.sleep(sleep)
    raise AssertionError("unreachable")


async def wait_async(steps: Steps[T]) -> T:
    """Run a protocol step to its end while the event loop goes on."""
    for sleep in _sleeps():
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]  # PEP 380's value has no type
        await asyncio.sleep(sleep)
    raise AssertionError("unreachable")


def _timeout(deadline: float) -> bool:
    return time.monotonic() > deadline


class World:
    """One rank, and the others."""

    def __init__(self, comm: MPI.Intracomm, guardian: Guardian) -> None:
        self._comm = comm
        self._phase = 0  # tag of the next reports: a late one must not be taken for a newer one
        self.segments: set[str] = set()
        self.guardian = guardian
        self.rank: int = comm.Get_rank()
        self.size: int = comm.Get_size()
        self.host = socket.gethostname()
        self.original_environ = dict(os.environ)

    @classmethod
    def join(cls, guardian: Guardian) -> World:
        """Bring up MPI and return the world; a user's mistake ends the process with its remedy."""
        if launcher_size(os.environ) == (local_size(os.environ) or 1):
            # One node: looking for network interfaces costs Open MPI a second of MPI_Init.
            os.environ.setdefault("OMPI_MCA_btl", "self,sm")
        try:
            from mpi4py import MPI

            complaints.check_match(MPI)
        except (ImportError, RuntimeError) as error:
            _refuse(complaints.mpi_missing(error))
        except StartupError as error:
            _refuse(error)
        world = cls(MPI.COMM_WORLD.Dup(), guardian)
        world.use_role(Role.WORKER)  # until the roles are known
        for name in rank_identity(list(_environ_names())):
            os.environ.pop(name, None)
            os.unsetenv(name)
        return world

    def use_role(self, role: Role) -> None:
        """Tell the guardian that MPI is up, what this rank is and whether the run can do without it."""
        self.guardian.mpi_is_up(f"rank {self.rank} ({role}) on {self.host}", vital=bool(role & VITAL))

    def own(self, segments: set[str]) -> None:
        """Have shared-memory files removed at the end, however it comes: a killed MPI library leaves them."""
        self.segments = segments
        for segment in segments:
            self.guardian.remove_later(segment)

    # ----------------------------------------------------------------- meeting
    def share(self, value: Any, root: int) -> Steps[Any]:
        """Broadcast a picklable value of any size from `root`; return it on every rank."""
        from mpi4py import MPI

        payload = bytearray(pickle.dumps(value) if self.rank == root else b"")
        length = bytearray(len(payload).to_bytes(8, "little"))
        yield from _until(self._comm.Ibcast([length, MPI.BYTE], root))
        if self.rank != root:
            payload = bytearray(int.from_bytes(length, "little"))
        yield from _until(self._comm.Ibcast([payload, MPI.BYTE], root))
        return value if self.rank == root else pickle.loads(payload)  # noqa: S301 - from our own rank

    def report(self, value: Any) -> Steps[None]:
        """Send this rank's value, or the error that kept it from having one, to rank 0."""
        yield from _until(self._comm.isend((self.rank, self.host, value), 0, self._phase))

    def reports(self, expected: Iterable[int]) -> Generator[tuple[int, str, Any] | None, None, None]:
        """On rank 0: yield (rank, host, value) as the expected ranks report, None while waiting."""
        missing = set(expected)
        while missing:
            message = self._comm.improbe(tag=self._phase)
            if message is None:
                yield None
                continue
            report = message.recv()
            missing.discard(report[0])
            yield report

    def agree(
        self,
        value: T | BaseException,
        timeout: float,
        *,
        hosts: dict[int, str] | None = None,
        progress: Callable[[dict[int, T]], None] | None = None,
        enough: Callable[[dict[int, T]], bool] | None = None,
    ) -> Steps[dict[int, T]]:
        """Exchange a value of every rank; any rank's error becomes StartupError on all of them.

        value:    this rank's contribution, or the exception that kept it from having one
        timeout:  s that rank 0 waits; the error then names the ranks that are missing
        hosts:    rank -> host name, for that message
        progress: called on rank 0 with what has been reported so far, at every look
        enough:   on rank 0: end the wait before all have reported
        """
        self._phase += 1
        if self.rank == 0:
            verdict = yield from self._collect(value, timeout, hosts or {}, progress, enough)
            yield from self.share(verdict, 0)
        else:
            yield from self.report(value)
            verdict = yield from self.share(None, 0)
        if isinstance(verdict, MpidaskError):
            raise verdict
        result: dict[int, T] = verdict
        return result

    def _collect(
        self,
        value: Any,
        timeout: float,
        hosts: dict[int, str],
        progress: Callable[[dict[int, Any]], None] | None,
        enough: Callable[[dict[int, Any]], bool] | None,
    ) -> Steps[dict[int, Any] | MpidaskError]:
        """On rank 0: gather the values of all ranks, or find out what keeps them from coming."""
        deadline = time.monotonic() + timeout
        values: dict[int, Any] = {}
        if isinstance(value, BaseException):
            return complaints.located(value, 0, self.host)
        values[0] = value
        for report in self.reports(range(1, self.size)):
            if report is not None:
                if isinstance(report[2], BaseException):
                    return complaints.located(report[2], report[0], report[1])
                values[report[0]] = report[2]
                continue
            if progress is not None:
                progress(values)
            if enough is not None and enough(values):
                break
            if _timeout(deadline):
                return complaints.missing(set(range(self.size)) - set(values), hosts, timeout, self.size)
            yield
        return values

    # ------------------------------------------------------------------ ending
    def await_end(self, root: int) -> Steps[int]:
        """Wait for the exit status that the script's rank announces."""
        status = bytearray(1)
        yield from _until(self._comm.Ibcast(status, root))
        return status[0]

    def announce_end(self, status: int) -> Steps[None]:
        """On the script's rank: tell every rank that the run ends with this exit status."""
        yield from _until(self._comm.Ibcast(bytearray([status & 0xFF]), self.rank))

    def meet_to_end(self, timeout: float) -> bool:
        """Wait until every rank has closed what it serves; return False past the deadline."""
        deadline = time.monotonic() + timeout
        request = self._comm.Ibarrier()
        for sleep in _sleeps():
            if request.Test():
                return True
            if _timeout(deadline):
                return False
            time.sleep(sleep)
        raise AssertionError("unreachable")

    def leave(self, status: int) -> NoReturn:
        """End MPI and the process, without waiting for threads that the run left behind.

        C's exit() and not _exit(): MPICH tells its launcher that all is well in a C exit handler, and
        would otherwise have the other ranks killed.
        """
        from mpi4py import MPI

        _flush()
        # Open MPI's launcher reports a rank that fails while others still run, in eight lines.
        deadline = time.monotonic() + (0.2 if status and self.size > 1 else 0)
        MPI.Finalize()
        remove(self.segments)
        self.guardian.farewell()
        time.sleep(max(0.0, deadline - time.monotonic()))
        _exit(status)

    def abort(self, status: int) -> NoReturn:
        """End the whole run now: the last resort, when a rank does not answer."""
        from mpi4py import MPI

        _flush()
        MPI.COMM_WORLD.Abort(status)
        os._exit(status)

    def fail(self, error: MpidaskError) -> NoReturn:
        """End every rank after a failed start, with one message, from rank 0."""
        if self.rank == 0:
            sys.stderr.write(error.text())
        self.guardian.end_within(2 * _LAST_WORD)
        if not self.meet_to_end(_LAST_WORD):
            self.abort(error.status)
        self.leave(error.status if self.rank == 0 else 0)


def _environ_names() -> Iterable[str]:
    """Return the names in the process's environment, with those that the MPI library has set meanwhile.

    os.environ does not have these, but child processes inherit them.
    """
    environ = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), "environ")
    for entry in itertools.takewhile(bool, (environ[index] for index in itertools.count())):
        yield entry.decode(errors="replace").partition("=")[0]


def _until(request: MPI.Request) -> Steps[None]:
    while not request.Test():
        yield


def _exit(status: int) -> NoReturn:
    # Through PyDLL, that is with the interpreter lock held: no Python thread runs on meanwhile.
    ctypes.PyDLL(None).exit(status)
    os._exit(status)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def _refuse(error: StartupError) -> NoReturn:
    """End this process before there is a world; only the launcher's rank 0 speaks."""
    if launcher_rank(os.environ) == 0:
        sys.stderr.write(error.text())
        sys.stderr.flush()
    else:
        time.sleep(1)  # the first rank that ends takes the others along: let the speaker finish
    os._exit(error.status)
