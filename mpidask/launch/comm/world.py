"""The ranks of the run and how they meet: the only module that imports mpi4py.

MPI serves to bootstrap and to end. Every wait is a nonblocking operation and a sleep: a blocking
collective would burn a core on every rank that waits for the slowest one.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import pickle
import socket
import sys
import time
from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any, NoReturn

from mpidask.errors import MpidaskError, StartupError, UsageError
from mpidask.launch.comm import mpi_settings, startup_errors
from mpidask.launch.comm.polling import End, Steps, WaitPolicy, wait
from mpidask.launch.comm.wakeup import ADDRESS_SIZE, WakeupSocket
from mpidask.launch.resources.roles import VITAL, Role
from mpidask.launch.watchdog.launcher_environment import (
    launcher_rank,
    launcher_size,
    local_size,
    rank_identity,
)
from mpidask.launch.watchdog.procfs import launcher_process, ranks_under
from mpidask.launch.watchdog.shared_memory import remove, segments_of

if TYPE_CHECKING:
    from mpi4py import MPI

    from mpidask.launch.imports.import_cache import ImportCache
    from mpidask.launch.watchdog.watchdog import Watchdog

__all__ = ["World"]

_LAST_WORD = 10.0  # s that the other ranks get to leave by themselves after a failed start
_OUTLAST, _OUTLAST_MOST = 0.2, 6.0  # s that a rank that fails stays after the others, at least and at most
_NOTICED = 0.1  # s for the launcher to notice that they are gone
_END = 0  # tag of the message that ends a run; reports have tags from 1 up
_INPUT = 32000  # tag of what the launcher's standard input holds


def _timeout(deadline: float) -> bool:
    return time.monotonic() > deadline


def _is_there(value: Any) -> bool:
    return not hasattr(value, "done") or bool(value.done())


def _unwrap(value: Any) -> Any:
    return value.result() if hasattr(value, "done") else value


class World:
    """One rank, and the others.

    fails_together: whether all ranks are to leave with the run's status, and not only the one that failed. After a
                    signal to it MPICH's launcher returns the status of whichever rank ends first; Open MPI's reports
                    each rank that fails while others run, in eight lines.
    """

    def __init__(
        self, comm: MPI.Intracomm, watchdog: Watchdog, *, whole: bool = True, fails_together: bool = True
    ) -> None:
        self._comm = comm
        self._phase = 0  # tag of the next reports: a late one must not be taken for a newer one
        self._sent: list[Any] = []  # requests of messages that nobody waits for
        self._input: Any = None  # request of standard input that is under way
        self._receiving: Any = None  # and at the other end
        self._wakeup_addresses = bytearray()  # of all ranks; they come with the first `agree` after listening
        self.wakeup: WakeupSocket | None = None
        self.segments: set[str] = set()
        self.is_lost = False  # whether the run is about to be aborted
        self.run = ""  # id of the run, once the ranks have met
        self.configuration: dict[str, Any] = {}  # Dask's, as rank 0 has it
        self.imports: ImportCache | None = None  # while the run starts
        self.watchdog = watchdog
        self.whole = whole  # whether these are all ranks of the MPI job
        self.rank: int = comm.Get_rank()
        self.size: int = comm.Get_size()
        self.fails_together = fails_together
        self.host = socket.gethostname()
        self.original_environ = dict(os.environ)

    @classmethod
    def join(cls, watchdog: Watchdog) -> World:
        """Bring up MPI and return the world of all ranks; a user's mistake ends the process with its remedy."""
        return cls.of(None, watchdog)

    @classmethod
    def of(cls, comm: MPI.Intracomm | None, watchdog: Watchdog) -> World:
        """Return the world of these ranks (None: all), with a communicator of its own; bring up MPI if it is not up.

        A user's mistake that keeps MPI from coming up ends the process with its remedy.
        """
        mpi = _bring_up()
        if comm == mpi.COMM_NULL:
            raise UsageError(
                "this rank is not in the communicator (it is COMM_NULL here)", "let only its ranks open the session"
            )
        whole = comm is None or mpi.Comm.Compare(comm, mpi.COMM_WORLD) in (mpi.IDENT, mpi.CONGRUENT, mpi.SIMILAR)
        own, request = (mpi.COMM_WORLD if comm is None else comm).Idup()
        wait(_until(request))  # a rank may be late: sleep until it has come
        world = cls(own, watchdog, whole=whole, fails_together=mpi.get_vendor()[0] != "Open MPI")
        world.use_role(Role.WORKER)  # until the roles are known
        for name in rank_identity(list(_environ_names())):
            os.environ.pop(name, None)
            os.unsetenv(name)
        return world

    def use_role(self, role: Role) -> None:
        """Tell the watchdog that MPI is up, what this rank is and whether the run can do without it."""
        self.watchdog.mpi_is_up(f"rank {self.rank} ({role}) on {self.host}", vital=bool(role & VITAL))

    def drop_imports(self) -> None:
        """Forget the import cache: the run has started."""
        if self.imports is not None:
            self.imports.close()
        self.imports = None

    def own(self, segments: set[str]) -> None:
        """Have shared-memory files removed at the end, however it comes: a killed MPI library leaves them."""
        self.segments = segments
        for segment in segments:
            self.watchdog.remove_later(segment)

    # ----------------------------------------------------------------- meeting
    def share(self, value: Any, root: int) -> Steps[Any]:
        """Broadcast a picklable value of any size from `root`; return it on every rank."""
        is_root = self.rank == root
        payload = yield from self.share_bytes(pickle.dumps(value) if is_root else None, root)
        return value if is_root else pickle.loads(payload)  # noqa: S301 - from our own rank

    def share_bytes(self, payload: Any, root: int, room: Callable[[int], Any] = bytearray) -> Steps[Any]:
        """Broadcast bytes of any number from `root`; return them on every rank.

        payload: a buffer, on `root`
        room:    makes a writable buffer of so many bytes for them, on the other ranks
        """
        from mpi4py import MPI

        is_root = self.rank == root
        length = bytearray((len(payload) if is_root else 0).to_bytes(8, "little"))
        yield from _until(self._comm.Ibcast([length, MPI.BYTE], root))
        buffer = payload if is_root else room(int.from_bytes(length, "little"))
        yield from _until(self._comm.Ibcast([buffer, MPI.BYTE], root))
        return buffer

    def agree(self, value: Any, policy: WaitPolicy) -> Steps[dict[int, Any]]:
        """Exchange a value of every rank; an error on one rank becomes a StartupError on all of them.

        value: this rank's contribution, the exception that kept it from having one, or a Coming one. A rank learns
               of an error elsewhere before its own value is there.
        Returns rank -> value, of all ranks or of enough of them.
        """
        self._phase += 1
        if self.rank == 0:
            verdict = yield from self._collect(value, policy)
            yield from self.share((verdict, self._wakeup_addresses), 0)
        else:
            verdict, self._wakeup_addresses = yield from self._contribute(value)
        if isinstance(verdict, MpidaskError):
            raise verdict
        return verdict

    def _contribute(self, value: Any) -> Steps[Any]:
        """Report this rank's value to rank 0 as soon as it is there, while waiting for the verdict."""
        verdict, report = self.share(None, 0), None
        while True:
            try:
                moved = next(verdict)
            except StopIteration as stop:
                return stop.value
            if report is None and _is_there(value):
                report = self._comm.isend(
                    (self.rank, self.host, _unwrap(value), self._wakeup_address()), 0, self._phase
                )
            elif report is not None:
                report.Test()
            yield moved

    def _collect(self, value: Any, policy: WaitPolicy) -> Steps[dict[int, Any] | MpidaskError]:
        """On rank 0: gather the values of all ranks, or find out what keeps them from coming."""
        deadline = time.monotonic() + policy.timeout
        values: dict[int, Any] = {}
        while (before := len(values)) < self.size:
            for rank, host, theirs in self._reports(value, seen=0 in values):
                if isinstance(theirs, BaseException):
                    return startup_errors.located(theirs, rank, host)
                values[rank] = theirs
            policy.progress(values)
            if policy.enough(values):
                break
            if (over := policy.over()) is not None:
                return over
            if _timeout(deadline):
                missing = set(range(self.size)) - set(values)
                return startup_errors.missing(missing, policy.hosts, policy.timeout, self.size)
            yield len(values) > before
        return policy.compact(values)

    def _reports(self, value: Any, *, seen: bool) -> Generator[tuple[int, str, Any], None, None]:
        """On rank 0: yield (rank, host, value) for all that has been reported by now, its own included."""
        if not seen and _is_there(value):
            yield self.rank, self.host, _unwrap(value)
        while message := self._comm.improbe(tag=self._phase):
            rank, host, theirs, address = message.recv()
            if address:
                self._keep_address(rank, address)
            yield rank, host, theirs

    def listen_for_wakeups(self, address: str) -> None:
        """Have the others know, from the next `agree` on, how to wake this rank, at this IPv4 address."""
        self.wakeup = WakeupSocket(address)
        self._wakeup_addresses = bytearray(ADDRESS_SIZE * self.size)
        self._keep_address(self.rank, self.wakeup.address)

    def _wakeup_address(self) -> bytes:
        return b"" if self.wakeup is None else self.wakeup.address

    def _keep_address(self, rank: int, address: bytes) -> None:
        self._wakeup_addresses[rank * ADDRESS_SIZE : (rank + 1) * ADDRESS_SIZE] = address

    # ------------------------------------------------------------------ ending
    def announce_end(self, status: int | None) -> None:
        """Tell every other rank that the run ends, with the script's exit status if it is known."""
        end = End(status, self.rank)
        self._sent += [self._comm.isend(end, rank, _END) for rank in range(self.size) if rank != self.rank]
        if self.wakeup is not None:
            self.wakeup.wake(self._wakeup_addresses)

    def await_end(self) -> Steps[End]:
        """Wait until a rank announces the end."""
        while (end := self.ended()) is None:
            yield False
        return end

    def ended(self) -> End | None:
        """Return the end that another rank has announced, None if there is none (any more)."""
        message = self._comm.improbe(tag=_END)
        return None if message is None else message.recv()

    def meet(self, timeout: float = float("inf")) -> Steps[bool]:
        """Wait until every rank has come here; return False past the deadline."""
        deadline = time.monotonic() + timeout
        request: Any = None
        while request is None or not request.Test():
            self.receive_input()  # which nobody wants any more
            if request is None and (self._input is None or self._input.Test()):
                request = self._comm.Ibarrier()
                continue
            if _timeout(deadline):
                return False
            yield False
        return True

    # ---------------------------------------------------------- standard input
    def send_input(self, chunk: bytes, rank: int) -> Steps[None]:
        """Send bytes of standard input to another rank, none at its end; wait until they have been taken."""
        self._input = self._comm.issend(chunk, rank, _INPUT)
        if self.wakeup is not None:
            self.wakeup.wake(self._wakeup_addresses[rank * ADDRESS_SIZE : (rank + 1) * ADDRESS_SIZE])
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
        self._comm.Free()
        if self.wakeup is not None:
            self.wakeup.close()

    def is_finalized(self) -> bool:
        """Whether MPI has ended already."""
        from mpi4py import MPI

        return bool(MPI.Is_finalized())

    def finalize(self, *, last: bool) -> None:
        """End MPI on all ranks, which have met; the process is to end soon.

        last: this rank has failed, and is to be the last of this node where ranks do not fail together
        """
        from mpi4py import MPI

        _flush()
        MPI.Finalize()
        if self.whole and self.size == 1:
            remove(
                self.segments
            )  # Open MPI 5 leaves its own where there is no launcher; else each library removes them
        if last and self.size > 1 and not self.fails_together:
            _outlast_others()

    @staticmethod
    def go(status: int) -> None:
        """End MPI where ranks outside this world cannot be met: abort it if this rank has failed."""
        from mpi4py import MPI

        _flush()
        if MPI.Is_initialized() and not MPI.Is_finalized():
            if status and MPI.COMM_WORLD.Get_size() > 1:
                remove(segments_of("self", "none"))  # an MPI library that is aborted leaves them
                MPI.COMM_WORLD.Abort(status)
            MPI.Finalize()

    def leave(self, status: int) -> NoReturn:
        """End MPI and the process, without waiting for threads that the run left behind.

        C's exit() and not _exit(): MPICH tells its launcher that all is well in a C exit handler, and
        would otherwise have the other ranks killed.
        """
        self.finalize(last=bool(status))
        self.watchdog.farewell()
        _exit(status)

    def abort(self, status: int) -> NoReturn:
        """End the whole run now: the last resort, when a rank does not answer."""
        from mpi4py import MPI

        _flush()
        remove(self.segments)  # a rank that goes on without a watchdog has nobody else to do it
        MPI.COMM_WORLD.Abort(status)
        os._exit(status)

    def fail(self, error: MpidaskError) -> NoReturn:
        """End every rank after a failed start, with one message, from rank 0."""
        if self.rank == 0:
            sys.stderr.write(error.text())
        self.watchdog.end_within(2 * _LAST_WORD)
        if not wait(self.meet(_LAST_WORD)):
            self.abort(error.status)
        self.leave(error.status if self.rank == 0 else 0)


def _bring_up() -> Any:
    """Return mpi4py.MPI, initialised; a user's mistake ends the process."""
    try:
        import mpi4py

        mpi4py.rc.initialize = False  # look which library it is first: a wrong one may abort
        from mpi4py import MPI

        if not MPI.Is_initialized():
            startup_errors.check_vendor(MPI)
            _initialise(MPI)
        startup_errors.check_size(MPI)
    except (ImportError, RuntimeError) as error:
        _refuse(startup_errors.mpi_missing(error))
    except StartupError as error:
        _refuse(error)
    return MPI


def _initialise(mpi: Any) -> None:
    """Bring the library up, with settings that are for this alone: what the script starts does not get them."""
    one_node = launcher_size(os.environ) == (local_size(os.environ) or 1)
    settings = mpi_settings.settings(mpi.get_vendor(), os.environ, mpi_settings.texts(os.environ), one_node=one_node)
    os.environ.update(settings)
    try:
        mpi.Init_thread(mpi.THREAD_MULTIPLE)
    finally:
        for name in settings:
            del os.environ[name]


def _environ_names() -> Iterable[str]:
    """Return the names in the process's environment, with those that the MPI library has set meanwhile.

    os.environ does not have these, but child processes inherit them.
    """
    environ = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), "environ")
    for entry in itertools.takewhile(bool, (environ[index] for index in itertools.count())):
        yield entry.decode(errors="replace").partition("=")[0]


def _until(request: MPI.Request) -> Steps[None]:
    begun = True  # what came before it is over
    while not request.Test():
        yield begun
        begun = False


def _outlast_others() -> None:
    """Wait until no other rank of this node is left, and a little for those of other nodes."""
    launcher = launcher_process(os.getppid()) or os.getppid()
    begun = time.monotonic()
    while (waited := time.monotonic() - begun) < _OUTLAST_MOST:
        if waited > _OUTLAST and len(ranks_under(launcher)) <= 1:
            break
        time.sleep(0.02)
    time.sleep(_NOTICED)


def _exit(status: int) -> NoReturn:
    # Through PyDLL, that is with the interpreter lock held: no Python thread runs on meanwhile.
    ctypes.PyDLL(None).exit(status)
    os._exit(status)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def _refuse(error: StartupError) -> NoReturn:
    """End this process before there is a world; only the launcher's rank 0 reports."""
    if launcher_rank(os.environ) == 0:
        sys.stderr.write(error.text())
        sys.stderr.flush()
    else:
        time.sleep(1)  # the first rank that ends takes the others along: let the one that reports finish
    os._exit(error.status)
