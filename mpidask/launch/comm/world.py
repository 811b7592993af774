"""The ranks of the run and how they meet: the protocol, over MPI.

MPI serves to bootstrap and to end. Every wait is a nonblocking operation and a sleep: a blocking
collective would burn a core on every rank that waits for the slowest one.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import socket
import sys
import time
from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from mpidask.errors import MpidaskError, UsageError
from mpidask.launch.comm import mpi_library, startup_errors
from mpidask.launch.comm.polling import End, News, Running, SoFar, Steps, WaitPolicy, wait
from mpidask.launch.comm.wakeup import Arrivals, Wakeups, WakeupSocket
from mpidask.launch.watchdog.launcher_environment import rank_identity
from mpidask.launch.watchdog.shared_memory import remove, segments_of
from mpidask.launch.watchdog.siblings import outlast_others

if TYPE_CHECKING:
    from mpi4py import MPI

__all__ = ["World"]

T = TypeVar("T")

_SOON = 10.0  # s in which pieces of a large message are expected one soon after the other
_PIECE = 1 << 16  # bytes that come in one piece
_END = 0  # tag of the message that ends a run; reports have tags from 1 up
_INPUT = 32000  # tag of what the launcher's standard input holds
_LOSS = 32001  # tag of messages about what is lost for good


def _timeout(deadline: float) -> bool:
    return time.monotonic() > deadline


def _is_there(value: Any) -> bool:
    return not hasattr(value, "done") or bool(value.done())


def _unwrap(value: Any) -> Any:
    return value.result() if hasattr(value, "done") else value


class World:
    """The protocol between this rank and the others.

    whole:    whether these are all ranks of the MPI job
    segments: the MPI library's shared-memory files, which it leaves when it is killed
    fails_together: whether all ranks are to leave with the run's status, and not only the one that failed. After a
                    signal to it MPICH's launcher returns the status of whichever rank ends first; Open MPI's reports
                    each rank that fails while others run, in eight lines.
    """

    def __init__(self, comm: MPI.Intracomm, *, whole: bool = True, fails_together: bool = True) -> None:
        self._comm = comm
        self._phase = 0  # tag of the next reports: a late one must not be taken for a newer one
        self._sent: list[Any] = []  # requests of messages that nobody waits for
        self._input: Any = None  # request of standard input that is under way
        self._receiving: Any = None  # and at the other end
        self._wakeups = Wakeups(comm)
        self.whole = whole
        self.rank: int = comm.Get_rank()
        self.size: int = comm.Get_size()
        self.fails_together = fails_together
        self.host = socket.gethostname()
        self.segments = segments_of("self")

    @classmethod
    def of(cls, comm: MPI.Intracomm | None) -> World:
        """Return the world of these ranks (None: all), with a communicator of its own; bring up MPI if it is not up.

        A user's mistake that keeps MPI from coming up ends the process with its remedy.
        """
        mpi = mpi_library.bring_up()
        if comm == mpi.COMM_NULL:
            raise UsageError(
                "this rank is not in the communicator (it is COMM_NULL here)", "let only its ranks open the session"
            )
        whole = comm is None or mpi.Comm.Compare(comm, mpi.COMM_WORLD) in (mpi.IDENT, mpi.CONGRUENT, mpi.SIMILAR)
        own, request = (mpi.COMM_WORLD if comm is None else comm).Idup()
        wait(_until(request))  # a rank may be late: sleep until it has come
        world = cls(own, whole=whole, fails_together=mpi.get_vendor()[0] != "Open MPI")
        for name in rank_identity(list(mpi_library.environ_names())):
            os.environ.pop(name, None)
            os.unsetenv(name)
        return world

    # ----------------------------------------------------------------- meeting
    def share(self, value: Any, root: int) -> Steps[Any]:
        """Broadcast a picklable value of any size from `root`; return it on every rank."""
        is_root = self.rank == root
        payload: Any = pickle.dumps(value) if is_root else b""
        if is_root:
            self._wakeups.wake_busy()
        length = bytearray(len(payload).to_bytes(8, "little"))
        yield from self.share_into(length, root)
        if not is_root:
            payload = bytearray(int.from_bytes(length, "little"))
        yield from self.share_into(payload, root)
        return value if is_root else pickle.loads(payload)  # noqa: S301 - from our own rank

    def share_into(self, buffer: Any, root: int) -> Steps[None]:
        """Broadcast the bytes of a buffer from `root` into those of the other ranks, which are of the same size."""
        from mpi4py import MPI

        soon = _SOON if len(buffer) > _PIECE else 0.0  # piece by piece: it moves on only when somebody looks
        yield from _until(self._comm.Ibcast([buffer, MPI.BYTE], root), time.monotonic() + soon)

    def agree(self, value: Any, policy: WaitPolicy) -> Steps[dict[int, Any]]:
        """Exchange a value of every rank; an error on one rank becomes a StartupError on all of them.

        value: this rank's contribution, the exception that kept it from having one, or a Coming one. A rank learns
               of an error elsewhere before its own value is there. Of a Growing one rank 0 learns what is there so far.
        Returns rank -> value, of all ranks or of enough of them.
        """
        self._phase += 1
        if self.rank == 0:
            verdict = yield from self._collect(value, policy)
            yield from self.share(verdict, 0)
        else:
            verdict = yield from self._contribute(value)
        if isinstance(verdict, MpidaskError):
            raise verdict
        return verdict

    def _contribute(self, value: Any) -> Steps[Any]:
        """Report this rank's value to rank 0 as soon as it is there, while waiting for the verdict."""
        verdict, report, news = Running(self.share(None, 0)), None, News()
        for moved in verdict:
            if report is None and _is_there(value):
                report = self._report(_unwrap(value))
            elif report is not None:
                report.Test()
            elif (part := news.of(value)) is not None:
                self._sent.append(self._report(part))
            yield moved
        return verdict.value

    def _report(self, value: Any) -> Any:
        sent = self._comm.isend((self.rank, self.host, value), 0, self._phase)
        self._wakeups.wake(0)
        return sent

    def _collect(self, value: Any, policy: WaitPolicy) -> Steps[dict[int, Any] | MpidaskError]:
        """On rank 0: gather the values of all ranks, or find out what keeps them from coming."""
        deadline = time.monotonic() + policy.timeout
        values: dict[int, Any] = {}
        parts: dict[int, SoFar] = {}
        news = News()
        while (before := len(values)) < self.size:
            if (part := news.of(value)) is not None:
                parts[0] = part
            for rank, host, theirs in self._reports(value, seen=0 in values):
                if isinstance(theirs, BaseException):
                    return startup_errors.located(theirs, rank, host)
                (parts if isinstance(theirs, SoFar) else values)[rank] = theirs
            policy.progress(parts | values)
            if policy.enough(parts | values):
                break
            if (over := policy.over()) is not None:
                return over
            if _timeout(deadline):
                missing = policy.missing(parts | values) or set(range(self.size)) - set(values)
                return startup_errors.missing(missing, policy.hosts, policy.timeout, self.size)
            yield len(values) > before
        return policy.compact(values)

    def _reports(self, value: Any, *, seen: bool) -> Generator[tuple[int, str, Any], None, None]:
        """On rank 0: yield (rank, host, value) for all that has been reported by now, its own included."""
        if not seen and _is_there(value):
            yield self.rank, self.host, _unwrap(value)
        while message := self._comm.improbe(tag=self._phase):
            yield message.recv()

    def listen_for_wakeups(self, address: str, busy: Iterable[int] = ()) -> None:
        """Have the others, from soon on, wake this rank at this IPv4 address; all ranks do so at the same place.

        busy: ranks that something depends on while the run starts
        """
        self._wakeups.listen(address, busy)

    @property
    def wakeup(self) -> WakeupSocket | None:
        """What wakes this rank while the run goes on, None before it listens."""
        return self._wakeups.own

    def arrivals(self) -> Arrivals:
        """Return what wakes waits of this rank while the run starts."""
        return Arrivals(self.wakeup)

    def beside(self, steps: Steps[T]) -> Steps[T]:
        """Wait for something that does not come over MPI, while MPI goes on."""
        running = Running(steps)
        for moved in running:
            self._wakeups.go_on()
            yield moved
        return running.value

    # ------------------------------------------------------------------ ending
    def announce_end(self, status: int | None) -> None:
        """Tell every other rank that the run ends, with the script's exit status if it is known."""
        end = End(status, self.rank)
        self._sent += [self._comm.isend(end, rank, _END) for rank in range(self.size) if rank != self.rank]
        self._wakeups.wake_all()

    def await_end(self) -> Steps[End]:
        """Wait until a rank announces the end."""
        while (end := self.ended()) is None:
            yield False
        return end

    def ended(self) -> End | None:
        """Return the end that another rank has announced, None if there is none (any more)."""
        message = self._comm.improbe(tag=_END)
        return None if message is None else message.recv()

    def report_loss(self, what: Any, rank: int) -> None:
        """Tell a rank of something that is lost for good."""
        self._sent.append(self._comm.isend(what, rank, _LOSS))
        self._wakeups.wake(rank)

    def losses(self) -> Generator[Any, None, None]:
        """Yield what other ranks have told this one of."""
        while message := self._comm.improbe(tag=_LOSS):
            yield message.recv()

    def meet(self, timeout: float = float("inf")) -> Steps[bool]:
        """Wait until every rank has come here; return False past the deadline."""
        deadline = time.monotonic() + timeout
        request: Any = None
        while request is None or not request.Test():
            self.receive_input()  # which nobody wants any more
            if request is None and self._has_sent_all():
                request = self._comm.Ibarrier()
                continue
            if _timeout(deadline):
                return False
            yield False
        return True

    def _has_sent_all(self) -> bool:
        """Whether what this rank has under way besides messages has been taken: MPI is not to end meanwhile."""
        return self._wakeups.go_on() and (self._input is None or bool(self._input.Test()))

    # ---------------------------------------------------------- standard input
    def send_input(self, chunk: bytes, rank: int) -> Steps[None]:
        """Send bytes of standard input to another rank, none at its end; wait until they have been taken."""
        self._input = self._comm.issend(chunk, rank, _INPUT)
        self._wakeups.wake(rank)
        while not self._input.Test():
            yield False

    def receive_input(self) -> bytes | None:
        """Return the next bytes of standard input, none at its end; None if nothing has come yet, or not all of it."""
        if self._receiving is None:
            message = self._comm.improbe(tag=_INPUT)
            if message is None:
                return None
            self._receiving = message.irecv()
        done, chunk = self._receiving.test()
        if not done:
            return None
        self._receiving = None
        return bytes(chunk)

    @property
    def is_receiving(self) -> bool:
        """Whether some of it is on its way."""
        return self._receiving is not None

    def release(self) -> None:
        """Give back what this world has of MPI, after all ranks have met: the program goes on using it."""
        while message := self._comm.improbe():  # what came after rank 0 had enough of it
            message.recv()
        self._comm.Free()
        self._wakeups.close()

    def is_finalized(self) -> bool:
        """Whether MPI has ended already."""
        return mpi_library.is_finalized()

    def finalize(self, *, last: bool) -> None:
        """End MPI on all ranks, which have met; the process is to end soon.

        last: this rank has failed, and is to be the last of this node where ranks do not fail together
        """
        from mpi4py import MPI

        _flush()
        MPI.Finalize()
        if self.whole and self.size == 1:  # else each library removes them, but for Open MPI 5 without a launcher
            remove(self.segments)
        if last and self.size > 1 and not self.fails_together:
            outlast_others()

    @staticmethod
    def go(status: int) -> None:
        """End MPI where ranks outside this world cannot be met: abort it if this rank has failed."""
        from mpi4py import MPI

        _flush()
        if MPI.Is_initialized() and not MPI.Is_finalized():
            if status and MPI.COMM_WORLD.Get_size() > 1:
                remove(segments_of("self"))  # an MPI library that is aborted leaves them
                MPI.COMM_WORLD.Abort(status)
            MPI.Finalize()

    @staticmethod
    def exit_process(status: int) -> NoReturn:
        """End the process by C's exit(), not by _exit().

        MPICH tells its launcher that all is well in a C exit handler, and would otherwise have the other ranks killed.
        """
        # Through PyDLL, that is with the interpreter lock held: no Python thread runs on meanwhile.
        ctypes.PyDLL(None).exit(status)
        os._exit(status)

    def abort(self, status: int) -> NoReturn:
        """End the whole run now: the last resort, when a rank does not answer."""
        from mpi4py import MPI

        _flush()
        remove(self.segments)  # a rank that goes on without a watchdog has nobody else to do it
        MPI.COMM_WORLD.Abort(status)
        os._exit(status)


def _until(request: MPI.Request, soon: float = 0.0) -> Steps[None]:
    begun = True  # what came before it is over
    while not request.Test():
        yield begun or time.monotonic() < soon
        begun = False


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
