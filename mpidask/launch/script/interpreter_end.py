"""What a rank does in the interpreter's place where a script calls mpidask: MPI has to end first."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

from mpidask.compat import python
from mpidask.launch.script import threads

__all__ = ["ending_by_os_exit", "hidden_main", "wind_down"]


@contextlib.contextmanager
def hidden_main() -> Iterator[None]:
    """Have processes that are started meanwhile not import the user's program: they would run it again."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextlib.contextmanager
def ending_by_os_exit(hard_exit: Callable[[int], Any]) -> Iterator[None]:
    """Have os._exit() end the run in order: a rank that vanishes is an error to every launcher, even with status 0."""
    original, rank = os._exit, os.getpid()

    def leave(status: int) -> Any:
        in_main_thread = threading.current_thread() is threading.main_thread()
        if os.getpid() == rank and in_main_thread:
            os._exit = original
            hard_exit(status & 0xFF)
        original(status)

    leave.__module__, leave.__name__, leave.__qualname__ = "os", "_exit", "_exit"  # pickled by that name
    os._exit = leave
    try:
        yield
    finally:
        os._exit = original


def wind_down(grace: float) -> int:
    """Do what the interpreter does at its end, without waiting for ever: threads, then exit handlers.

    grace: s that threads which the script left running are waited for
    Returns 0, or the exit status that says that threads were given up.
    """
    given_up = 0
    with contextlib.suppress(KeyboardInterrupt):
        python.end_process_pools()
        idle = python.threads_of_pools()  # waiting in vain for work, most of them
        given_up = threads.join(lambda: threads.left(idle), grace)
        python.run_exit_handlers()
        python.end_thread_pools()  # idle threads end at once; those that work get the grace
        given_up = threads.join(lambda: threads.left() & python.threads_of_pools(), grace) or given_up
        _flush_files()
    return given_up


def _flush_files() -> None:
    """Write out what files that the program left open still hold: the interpreter would, at its very end."""
    files = [each for each in gc.get_objects() if issubclass(type(each), io.TextIOBase | io.BufferedIOBase)]
    for file in sorted(files, key=lambda each: not issubclass(type(each), io.TextIOBase)):  # a text's buffer after it
        with contextlib.suppress(Exception):
            file.flush()
