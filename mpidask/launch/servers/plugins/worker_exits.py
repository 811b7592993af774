"""Why a worker died, in one line: what its nanny saw and what the scheduler knows, brought together."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, Literal

from distributed import Scheduler, SchedulerPlugin, Status

from mpidask.compat import servers
from mpidask.errors import LostError
from mpidask.launch.resources.hardware import oom_kills
from mpidask.launch.servers import idle, log_filters
from mpidask.launch.watchdog.procfs import read_stat

__all__ = ["EXIT_TOPIC", "Death", "Postmortem", "WatchedNanny", "describe_exit", "exit_message"]

#: The nanny logs a worker's exit to the scheduler under this topic.
EXIT_TOPIC = "mpidask-worker-exit"

_MEMORY_TOPIC = "worker-restart-memory"  # Dask's nanny: memory at the termination threshold
_AGAIN, _SOON = 5, 15.0  # deaths in a row without a task, each so soon (s) after the last: the worker cannot run
_RETURN = 45.0  # s for a worker to come back that has left unasked: it may first wait 30 s for its task
_LEAVING = (Status.closing.name, Status.closing_gracefully.name)
_WORD = 2.0  # s after a worker has left unasked in which its nanny tells why, on a busy machine
_LOOK = 0.02  # s between two looks whether it has
_WAIT = 0.5  # s for the scheduler to notice as well: its tasks are known when it has removed the worker


def describe_exit(exitcode: int, *, memory: int | None = None, limit: int | None = None, oom: bool = False) -> str:
    """Return why a process died.

    exitcode: negative: minus the signal's number
    memory:   bytes in use when its nanny ended it for that, None if it did not
    oom:      whether the kernel killed something for want of memory meanwhile
    """
    if memory is not None:
        of = f" of {limit / 2**30:.2f} GiB" if limit else ""
        return f"it used {memory / 2**30:.2f} GiB{of} of memory"
    if oom and exitcode == -signal.SIGKILL:
        return "killed by the kernel: out of memory"
    if exitcode >= 0:
        return f"exit status {exitcode}"
    try:
        return f"signal {-exitcode} ({signal.Signals(-exitcode).name})"
    except ValueError:
        return f"signal {-exitcode}"


def exit_message(name: Any, exitcode: int, **more: Any) -> dict[str, Any]:
    """Return what is logged under EXIT_TOPIC."""
    return {"name": name, "host": os.uname().nodename, "exitcode": exitcode, **more}


class WatchedNanny(idle.RestingNanny):
    """Dask's nanny, which also tells the scheduler how its worker's process ended."""

    _oom_kills = 0
    _asked = False
    _ends = False
    _memory: int | None = None  # bytes that its worker used when it was ended for that
    _telling: asyncio.Future[Any] | None = None

    async def instantiate(self) -> Status:
        """Start the worker's process; remember how often the kernel had run out of memory."""
        if self._ends:  # one that is started now would have to be waited for
            return self.status
        self._oom_kills, self._asked, self._memory = oom_kills(), False, None
        status = await super().instantiate()
        servers.on_worker_exit(self, self._report_exit)
        return status

    async def kill(self, timeout: float = 5, reason: str = "nanny-kill") -> None:
        """End the worker's process on somebody's wish, which is no death to report."""
        self._asked = True
        await super().kill(timeout=timeout, reason=reason)

    async def close(self, timeout: float = 5, reason: str = "nanny-close") -> Literal["OK"]:  # type: ignore[override]  # as Dask's
        """Close; first tell of a worker that has just died."""
        self._ends, deadline = True, time.monotonic() + _WORD
        while self._is_dead() and time.monotonic() < deadline:  # noqa: ASYNC110 - Dask has no event for it
            await asyncio.sleep(_LOOK)
        if self._telling is not None:
            await asyncio.wait([self._telling], timeout=max(0.0, deadline - time.monotonic()))
        return await super().close(timeout=timeout, reason=reason)

    def log_event(self, topic: str | list[str], msg: Any) -> None:
        """Take note of why the worker is about to be ended, and tell the scheduler."""
        if topic == _MEMORY_TOPIC:
            self._memory = msg["rss"]
        super().log_event(topic, msg)  # type: ignore[no-untyped-call]  # Dask's

    def _is_dead(self) -> bool:
        """Whether the worker's process has ended unasked, and Dask's nanny has not noticed yet."""
        process = getattr(self.process, "process", None)
        if self.status != Status.running or self._asked or process is None:
            return False
        if process.exitcode is not None:  # the event loop has yet to hear of it
            return True
        stat = None if process.pid is None else read_stat(process.pid)
        return process.pid is not None and (stat is None or stat.state in "ZX" or stat.is_exiting)

    def _report_exit(self, exitcode: int) -> None:
        if self.status == Status.running and not self._asked:
            message = exit_message(
                self.name,
                exitcode,
                memory=self._memory,
                limit=self.memory_manager.memory_limit,
                oom=oom_kills() > self._oom_kills,
                disconnected=self.disconnected,
            )
            self._telling = asyncio.ensure_future(self._tell(message))

    async def _tell(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # the scheduler is gone
            await self.scheduler.log_event(topic=EXIT_TOPIC, msg=message)


@dataclasses.dataclass(frozen=True)
class Death:
    """What is remembered of a worker whose process died.

    count: how often it died
    last:  when and why it died last, in one line
    """

    count: int
    last: str


class Postmortem(SchedulerPlugin):
    """Watches the scheduler's event log and writes one line per dead worker to stderr.

    deaths: name of a worker -> what is remembered of it
    """

    name = "mpidask-postmortem"

    def __init__(self, workers: int = 0, on_hopeless: Callable[[], None] = lambda: None) -> None:
        """Begin.

        workers:     how many there are to be in all
        on_hopeless: called when all of them have been given up
        """
        self.deaths: dict[str, Death] = {}
        self._workers, self._on_hopeless = workers, on_hopeless
        self._nannies: dict[str, tuple[Scheduler, str]] = {}  # by the worker's name
        self._in_a_row: dict[str, tuple[int, float]] = {}  # name -> deaths without a task, and when the last one was
        self._given_up: set[str] = set()
        self._ending: set[asyncio.Future[None]] = set()
        self._names: dict[str, str] = {}
        self._tasks: dict[str, list[str]] = {}
        self._waiting: dict[str, dict[str, Any]] = {}  # by the worker's name
        self._left: dict[str, float] = {}  # name -> when the worker left unasked
        self._unexplained: dict[str, float] = {}  # those of them of which the nanny has not told yet
        self._taking_leave: set[str] = set()  # addresses of workers that close, and have said so
        self._closing = False

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:
        """Remember a worker's name: its process dies under another address than its nanny knows, if it dies soon."""
        state = scheduler.workers[worker]
        self._names[worker] = name = str(state.name)
        self._unexplained.pop(name, None)
        if state.nanny:
            self._nannies[name] = scheduler, state.nanny

    def log_event(self, topic: str, msg: Any) -> None:
        """Take note of an event."""
        if topic == EXIT_TOPIC:
            name = str(msg["name"])
            self._unexplained.pop(name, None)
            self._report(name)  # should it have died before, just now
            self._waiting[name] = msg
            if name in self._tasks:
                self._report(name)
            asyncio.get_running_loop().call_later(_WAIT, self._report_all)
        elif topic == "all" and isinstance(msg, dict) and msg.get("action") == "remove-worker":
            name = self._names.pop(msg["worker"], "")
            self._tasks[name] = sorted(map(str, msg["processing-tasks"]))
            is_told = self._report(name)
            if not msg.get("expected"):
                if not self._left:
                    asyncio.get_running_loop().call_later(_RETURN, self._tell_who_is_gone)
                self._left[name] = time.monotonic()
                if name in self._nannies and not (is_told or self._closing or msg["worker"] in self._taking_leave):
                    self._unexplained[name] = time.monotonic()
            self._taking_leave.discard(msg["worker"])
        elif isinstance(msg, dict) and msg.get("action") == "worker-status-change" and msg["status"] in _LEAVING:
            self._taking_leave.add(str(topic))

    async def settle(self) -> None:
        """Wait a moment for what nannies are about to tell of workers that have just left: a run may end meanwhile."""
        due = {name: when + _WORD for name, when in self._unexplained.items()}  # not those that leave from here on
        while any(name in self._unexplained and time.monotonic() < end for name, end in due.items()):  # noqa: ASYNC110 - as above
            await asyncio.sleep(_LOOK)

    async def before_close(self) -> None:
        """Report what is left to report; what is lost from here on is meant to be."""
        self._report_all()
        self._closing = True
        log_filters.silence()

    def _report_all(self) -> None:
        for name in list(self._waiting):
            self._report(name)

    def _tell_who_is_gone(self) -> None:
        """Say which workers have left unasked and have not come back, in one line."""
        there, now = set(self._names.values()), time.monotonic()
        due = sorted(name for name, when in self._left.items() if now - when > _RETURN - _WAIT)
        gone = [name for name in due if name and name not in there]
        self._left = {name: when for name, when in self._left.items() if name not in due}
        if self._left:
            asyncio.get_running_loop().call_later(_RETURN, self._tell_who_is_gone)
        if gone and not self._closing:
            who = f"worker {gone[0]} has" if len(gone) == 1 else f"{len(gone)} workers ({_few(gone)}) have"
            left = f"{len(there)} workers are" if len(there) != 1 else "1 worker is"
            _write(f"{who} left and not come back within {_RETURN:.0f} s; {left} left")

    def _report(self, name: str) -> bool:
        """Write of a death, if there is one to write of; return whether there was."""
        exit_ = self._waiting.pop(name, None)
        if exit_ is None:
            return False
        tasks, what = self._tasks.pop(name, []), _what_happened(exit_)
        hopeless = self._dies_again(name, tasks)
        then = "; it is given up: it has died so often without a task" if hopeless else "; it is started again"
        _write(f"worker {name} on {exit_['host']} {what}{then}{_with(tasks)}")
        if hopeless:
            self._end(name)
        before = self.deaths.get(name, Death(0, ""))
        last = f"{time.strftime('%H:%M:%S')} {what}{_with(tasks)}"
        self.deaths[name] = Death(before.count + 1, last)
        return True

    def _dies_again(self, name: str, tasks: list[str]) -> bool:
        """Take note of a death; return whether it was one too many."""
        now = time.monotonic()
        count, last = self._in_a_row.get(name, (0, now))
        count = 0 if tasks else count + 1 if now - last < _SOON else 1
        self._in_a_row[name] = count, now
        return count >= _AGAIN and name in self._nannies

    def give_up(self, names: Iterable[str]) -> None:
        """Take note of workers that do not come back; the run ends if none is left."""
        self._given_up.update(names)
        if self._workers and len(self._given_up) >= self._workers:
            LostError(
                "all workers have died again and again and are given up; the run ends",
                "see above why; give them more memory (--memory-limit), or check the worker's options",
            ).report()
            self._on_hopeless()

    def _end(self, name: str) -> None:
        """Have its nanny not start it again."""
        self.give_up([name])
        scheduler, nanny = self._nannies[name]
        ending = asyncio.ensure_future(_end(scheduler, nanny))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)


async def _end(scheduler: Scheduler, nanny: str) -> None:
    with contextlib.suppress(OSError):
        async with scheduler.rpc(nanny) as connection:
            await connection.terminate()


def _what_happened(exit_: dict[str, Any]) -> str:
    if exit_.get("disconnected"):
        return "lost its connection to the scheduler"
    memory, limit, oom = exit_.get("memory"), exit_.get("limit"), bool(exit_.get("oom"))
    reason = describe_exit(exit_["exitcode"], memory=memory, limit=limit, oom=oom)
    return f"died: {reason}"


def _write(text: str) -> None:
    sys.stderr.write(f"mpidask: {text}\n")
    sys.stderr.flush()


def _with(tasks: list[str]) -> str:
    return f"; tasks it had: {_few(tasks)}" if tasks else ""


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
