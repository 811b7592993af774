"""What a rank does in the interpreter's place where a script calls mpidask: MPI has to end first."""

from __future__ import annotations

import contextlib
import gc
import io

from mpidask.compat import python
from mpidask.launch.script import threads

__all__ = ["wind_down"]


def wind_down(grace: float) -> int:
    """Do what the interpreter does at its end, without waiting for ever: threads, then exit handlers.

    grace: s that threads which the script left running are waited for
    Returns 0, or the exit status that says that threads were given up.
    """
    given_up = 0
    with contextlib.suppress(KeyboardInterrupt):
        python.shut_pools()  # their threads end, and are waited for like others
        given_up = threads.join(threads.left, grace)
        python.run_exit_handlers()
        _flush_files()
    return given_up


def _flush_files() -> None:
    """Write out what files that the program left open still hold: the interpreter would, at its very end."""
    files = [each for each in gc.get_objects() if issubclass(type(each), io.TextIOBase | io.BufferedIOBase)]
    for file in sorted(files, key=lambda each: not issubclass(type(each), io.TextIOBase)):  # a text's buffer after it
        with contextlib.suppress(Exception):
            file.flush()
