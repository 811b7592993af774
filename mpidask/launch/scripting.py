"""The rank that runs the user's script for the launcher, from the meeting to the end."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
from typing import Any, NoReturn

from mpidask import config
from mpidask.launch import ending, loudness, program
from mpidask.launch.alarm import Alarm
from mpidask.launch.client import Around, enter, restore_signals
from mpidask.launch.layout import Layout
from mpidask.launch.program import Program
from mpidask.launch.steps import wait
from mpidask.launch.world import World

__all__ = ["be_client"]


def be_client(world: World, layout: Layout, wanted: Program) -> NoReturn:
    """Run the script with the cluster around it, then end the run with its status."""
    codes: list[program.Code] = []

    def load() -> None:
        if world.rank != 0:
            _close_stdin()
        codes.append(program.load(wanted))

    around = Around(world, layout, load, diverts=True)
    wait(around.start())
    if around.has_servers:
        # After the script's exit handlers, which may still compute, and before multiprocessing's, which
        # waits for its children for ever.
        atexit.register(around.close_agent)
    enter(around)  # for scripts that open a session
    client = _connect(around.address)
    end = End(world, layout, around, client)
    restore_signals()
    before = threading.enumerate()
    end.alarm.set()
    status = program.run(codes[0], end.now, end.alarm.script_ended)
    end.alarm.script_ended(status)
    loudness.quieten()  # connections break when the script has shut the cluster down
    program.wind_down(before, config.seconds(layout.options.thread_grace))
    end.now(status)


class End:
    """How the script's rank ends the run.

    alarm: ends it before the walltime does
    """

    def __init__(self, world: World, layout: Layout, around: Around, client: Any) -> None:
        self._world, self._layout = world, layout
        self._around, self._client = around, client
        self.alarm = Alarm(config.seconds(layout.options.walltime_margin), world.guardian, self.now)

    def now(self, status: int) -> NoReturn:
        """End the run with this exit status: clients, then servers, then the ranks."""
        self.alarm.stop()
        for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
            with contextlib.suppress(ValueError):
                signal.signal(number, signal.SIG_IGN)
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        self._around.close(status)
        ending.leave_in_order(self._world, self._layout, status)


def _connect(address: str) -> Any:
    """Have `.compute()` in the script find the cluster."""
    from distributed import Client

    return Client(address)  # type: ignore[no-untyped-call]  # Dask's


def _close_stdin() -> None:
    """Give the script an empty standard input: the launcher passes its own to rank 0 only, others may wait for ever."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
