"""What runs in the script's process before the script, and beside it."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import threading
from multiprocessing.connection import Connection
from typing import Any

from mpidask.errors import MpidaskError, caught
from mpidask.launch.script import main_module, notebook, threads
from mpidask.launch.script.main_module import Code
from mpidask.launch.script.messages import Begin, EndWithin, Prepare, Ready
from mpidask.launch.watchdog import OTHERS, SCRIPT, mark, time_process
from mpidask.launch.watchdog.early_start import interpreter_options

__all__ = ["main"]


def main(descriptor: int) -> None:
    """Get ready while the cluster starts, then run the script; raises SystemExit with its status.

    descriptor: on which to talk with the client's rank
    """
    os.set_inheritable(descriptor, False)
    interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)  # until the script begins its rank decides
    channel = Connection(descriptor)
    time_process("script")
    mark("start Python")
    wrong = caught(_import)
    mark("import Dask")
    try:
        prepare: Prepare = channel.recv()
        mark("wait for the ranks", OTHERS)
        code = wrong or caught(lambda: _prepare(prepare))
        channel.send(Ready(code if isinstance(code, MpidaskError) else None))
        mark("load the script")
        _look_up()
        mark("look up what clients tell")
        begin: Begin = channel.recv()
        mark("wait for the cluster", OTHERS)
    except (EOFError, OSError):  # another rank runs the script, or nobody does
        os._exit(0)
    signal.signal(signal.SIGINT, interrupt)
    _Script(prepare, begin, channel).run(code)


def _import() -> None:
    """Import what every script of Dask's imports, also what a client imports when it connects.

    There is nothing for the collector to find meanwhile. It is not frozen, though: at the interpreter's end what the
    script has left there would not be deleted.
    """
    gc.disable()
    try:
        import distributed  # noqa: F401
        import tornado.platform.asyncio  # noqa: F401

        import mpidask.launch.script.run_cluster
        import mpidask.security.in_memory  # noqa: F401
    finally:
        gc.enable()


def _prepare(prepare: Prepare) -> Code:
    """Configure Dask and find the program; raises UsageError if there is none."""
    from mpidask.compat import dask_settings
    from mpidask.launch.resources import staggering
    from mpidask.security import tls_sockets

    os.environ.update(prepare.environ)
    time_process("script", last=True)
    dask_settings.update(prepare.config)
    staggering.configure(prepare.turn)
    tls_sockets.mend()
    return main_module.load(prepare.program, interpreter_options(sys.orig_argv))


def _look_up() -> None:
    """Look up what each client tells the scheduler of this process, while the cluster is not up yet: Dask keeps it."""
    from distributed import versions

    versions.get_versions()


class _Script:
    """The script, with the run's cluster around it."""

    def __init__(self, prepare: Prepare, begin: Begin, channel: Connection) -> None:
        self._prepare, self._begin, self._channel = prepare, begin, channel
        self._sending = threading.Lock()
        self._pid = os.getpid()
        self._alarm: Any = None

    def run(self, code: Code) -> None:
        """Run it; raises SystemExit with its status."""
        from mpidask.launch.resources import walltime
        from mpidask.launch.script import run_cluster
        from mpidask.launch.script.walltime_alarm import Alarm
        from mpidask.security import credentials

        run_cluster.install(self._begin, self._prepare)
        program = self._prepare.program
        if notebook.starts_kernels(program.kind, program.name):
            credentials.offer(self._begin.contact, run_cluster.dashboard_link())
        walltime.spare_first_sigterm()
        if self._prepare.walltime_margin:
            self._alarm = Alarm(self._prepare.walltime_margin, self, self._give_up)
            self._alarm.set()
        mark("have the script find the cluster")
        main_module.run(code, self._ended)

    def end_within(self, seconds: float) -> None:
        """Have this process killed if it is still there after so many seconds."""
        with self._sending, contextlib.suppress(OSError):
            self._channel.send(EndWithin(seconds))

    def _give_up(self, status: int) -> None:
        """End this process in spite of the script, which has not ended."""
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(status)

    def _ended(self, status: int) -> None:
        """Look after the threads that the interpreter now waits for."""
        if os.getpid() != self._pid:  # a child that the script has forked
            return
        mark("the script", SCRIPT)
        if self._alarm is not None:
            self._alarm.script_ended(status)
        if threads.left():
            watching = threading.Thread(
                target=self._watch_threads, args=(status,), name="mpidask thread grace", daemon=True
            )
            watching.start()

    def _watch_threads(self, status: int) -> None:
        """Give up threads that do not end; ends with the interpreter."""
        given_up = threads.join(threads.left, self._prepare.thread_grace)
        if given_up:
            self._give_up(status or given_up)
