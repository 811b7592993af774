"""The client's rank: starts the script's process, hands it the cluster, waits for it, ends the run."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from mpidask import quantities
from mpidask.errors import InterruptedStartError, MpidaskError, StartupError
from mpidask.launch.cluster import teardown
from mpidask.launch.cluster.client_rank import ClientCluster
from mpidask.launch.cluster.run import Run
from mpidask.launch.cluster.standard_input import Feed
from mpidask.launch.comm.polling import wait
from mpidask.launch.resources import walltime
from mpidask.launch.script.messages import Begin, EndWithin, Prepare, Ready
from mpidask.launch.watchdog.launcher_environment import TOKEN
from mpidask.launch.watchdog.script_process import ScriptProcess
from mpidask.security.credentials import Contact

__all__ = ["be_client"]

#: Signals that are the script's; those of a terminal reach it without us where it is at one.
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_OF_TERMINALS = (signal.SIGINT, signal.SIGHUP)

_LOOK = 4.0  # s between two looks for what nobody wakes this rank for
_EXITED = 1.0  # s for a process that has closed its end to be gone


def be_client(run: Run, ready: Callable[[], None]) -> NoReturn:
    """Run the script with the cluster around it, then end the run with its status.

    ready: called when this rank's signals are its own
    """
    started = run.rank.early.script()
    script = Script(
        run, started or ScriptProcess.start(run.world.rank, {**run.rank.environ, TOKEN: run.watchdog.token})
    )
    ready()
    cluster = ClientCluster(run, script, diverts=True)
    cluster.arrivals.listen_to(script)
    wait(cluster.start(), cluster.arrivals)
    status = script.run(cluster.pass_on_losses if cluster.has_servers else None)
    for number in _FORWARDED:
        signal.signal(number, signal.SIG_IGN)
    cluster.close(status)
    teardown.leave_in_order(run, status)


class Script:
    """The script's process, as the client's rank sees it."""

    def __init__(self, run: Run, process: ScriptProcess) -> None:
        self._run, self._process = run, process
        self._channel = Connection(process.channel)
        self._ready: Ready | None = None
        self._begin: Begin | None = None
        self._feed = Feed(run.world, process.stdin)
        self._status: int | None = None
        self._interrupted = 0  # the signal that has come before the script
        for number in _FORWARDED:
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup
                signal.signal(number, self._interrupt)
        self._exit, told = os.pipe()
        threading.Thread(target=self._await_exit, args=(told,), name="mpidask script", daemon=True).start()

    def _interrupt(self, number: int, frame: object) -> None:
        self._interrupted = number

    def _await_exit(self, told: int) -> None:
        """In a thread: wait for the process's end, and say so."""
        try:
            self._status = self._process.wait()
        finally:
            os.close(told)

    def fileno(self) -> int:
        """Return the descriptor at which it can be heard that the process is ready or gone."""
        return self._channel.fileno()

    # ------------------------------------------------------------- as the client of the cluster
    def prepare(self) -> None:
        """Tell the process what it is to run."""
        run, options = self._run, self._run.options
        assert run.invocation.program is not None
        self._tell(
            Prepare(
                run.invocation.program,
                run.rank.changed_environ(),
                run.configuration,
                run.layout.turn,
                quantities.seconds(options.thread_grace),
                quantities.seconds(options.walltime_margin),
                local_cluster=options.local_cluster,
                nanny=options.nanny,
            )
        )

    def done(self) -> bool:
        """Whether the process is ready, or will not be."""
        if self._interrupted:
            self._ready = Ready(InterruptedStartError.by(self._interrupted))
        if self._ready is None and self._channel.poll():
            try:
                self._ready = self._channel.recv()
            except (EOFError, OSError):
                self._wait_for_exit(_EXITED)
                ended = "" if self._status is None else f" ({_words(self._status)})"
                self._ready = Ready(StartupError(f"the script's process ended before the script began{ended}"))
        return self._ready is not None

    def wrong(self) -> MpidaskError | None:
        """Return what keeps the script from running, None if it is ready."""
        return self._ready.wrong if self._ready is not None else None

    def introduce(self, contact: Contact, dashboard: str | None) -> None:
        """Keep what the script's process is to know when it may begin."""
        layout = self._run.layout
        others = layout.joined is not None or layout.options.scheduler_file is not None
        workers = None if others else len(layout.workers)  # more may come from elsewhere
        self._begin = Begin(contact, dashboard, layout.hosts[layout.reporting_rank], workers)

    def close(self, address: str) -> None:
        """End the process, if the script has not ended it."""
        with contextlib.suppress(OSError):
            self._channel.close()

    def _tell(self, message: object) -> None:
        with contextlib.suppress(OSError):  # it is gone: `done` says so
            self._channel.send(message)

    # ------------------------------------------------------------------------------ the script
    def run(self, meanwhile: Callable[[], None] | None = None) -> int:
        """Have the script run; return the exit status of the run when it has ended.

        meanwhile: called now and then
        """
        self._take_signals()
        if self._interrupted:
            error = InterruptedStartError.by(self._interrupted)
            sys.stderr.write(error.text())
            return error.status
        self._tell(self._begin)
        heard: list[object] = [self._exit, self._channel]
        while self._status is None:
            feeding = self._feed.waits_for
            pause = min(feeding.pause or _LOOK, _LOOK)  # also for a signal that came just before the call
            ready, writable = _ready([*heard, *feeding.read], feeding.write, pause)
            if meanwhile is not None:
                meanwhile()
            if self._channel in ready and not self._listen():
                heard.remove(self._channel)
            self._feed.go_on(writable=writable)
            if self._exit in ready:
                self._wait_for_exit(_EXITED)
        self._feed.close()
        if self._run.is_lost:  # the run is about to be aborted, and the script was killed for that
            time.sleep(teardown.KILL)
        if self._status >= 0:
            return self._status
        number = -self._status
        sys.stderr.write(f"mpidask: error: the script was ended by {_words(self._status)}\n")
        return 128 + number

    def _take_signals(self) -> None:
        for number in _FORWARDED:
            if signal.getsignal(number) == signal.SIG_IGN:  # nohup
                continue
            if self._process.at_terminal and number in _OF_TERMINALS:
                signal.signal(number, lambda number, frame: None)
            else:
                signal.signal(number, lambda number, frame: self._pass_on(number))

    def _pass_on(self, number: int) -> None:
        if number == signal.SIGTERM and walltime.take_for_warning():
            return
        if self._status is None:
            self._process.signal(number)

    def _listen(self) -> bool:
        """Act on what the process says; return whether it may say more."""
        try:
            message = self._channel.recv()
        except (EOFError, OSError):
            return False
        if isinstance(message, EndWithin):
            self._run.watchdog.end_within(message.seconds)
        return True

    def _wait_for_exit(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self._status is None and time.monotonic() < deadline:
            time.sleep(0.001)


def _ready(reading: Sequence[Any], writing: Sequence[Any], seconds: float) -> tuple[list[Any], bool]:
    """Return what of these can be read, and whether one can be written to; their descriptors may be beyond 1023."""
    with selectors.PollSelector() as looking:
        for each in reading:
            looking.register(each, selectors.EVENT_READ)
        for each in writing:
            looking.register(each, selectors.EVENT_WRITE)
        events = looking.select(seconds)
    readable = [key.fileobj for key, event in events if event & selectors.EVENT_READ]
    return readable, any(event & selectors.EVENT_WRITE for _, event in events)


def _words(status: int) -> str:
    if status >= 0:
        return f"status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
