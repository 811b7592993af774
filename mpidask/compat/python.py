"""Private names of the standard library. Tested with CPython 3.11 to 3.14."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from mpidask.compat.missing import not_possible, tolerated

__all__ = [
    "at_the_end_of_the_main_thread",
    "drop_semaphores",
    "end_process_pools",
    "end_thread_pools",
    "forked_servers",
    "interpreter_flags",
    "process_settings",
    "run_exit_handlers",
    "threads_of_pools",
]


def run_exit_handlers() -> None:
    """Call what was registered with `atexit`, and forget it.

    A rank has to call it before MPI ends, and C's exit() does not. There is no public way.
    """
    import atexit

    atexit._run_exitfuncs()


def at_the_end_of_the_main_thread(function: Callable[[], None]) -> Callable[[], None]:
    """Have the interpreter call `function` when the main module has ended; return what it would have called.

    ``threading._shutdown`` is called before threads are waited for and before exit handlers; public exit handlers come
    too late: a thread that never ends would keep a rank, and with it the allocation.
    """
    original: Callable[[], None] = threading._shutdown  # type: ignore[attr-defined]
    threading._shutdown = function  # type: ignore[attr-defined]
    return original


def interpreter_flags() -> list[str]:
    """Return the options of the interpreter that a child should have, too, such as -O; none if Python does not say."""
    import subprocess

    with tolerated("children get the interpreter's options"):
        return list(subprocess._args_from_interpreter_flags())  # type: ignore[attr-defined]
    return []


def threads_of_pools() -> set[threading.Thread]:
    """Return the threads of this process's thread pools."""
    import concurrent.futures.thread as pools

    with tolerated("threads of pools are told from others"):
        return set(pools._threads_queues)
    return set()


def end_thread_pools() -> None:
    """Tell the threads of pools to end, as concurrent.futures does at the interpreter's end, but do not wait for them.

    No thread is started for it: Python 3.12.0 to 3.12.2 start none when the interpreter ends.
    """
    import concurrent.futures.thread as module

    pools: Any = module
    with tolerated("threads of pools are told to end"):
        with pools._global_shutdown_lock:
            pools._shutdown = True
        for queue in list(pools._threads_queues.values()):
            queue.put(None)


def end_process_pools() -> None:
    """Tell pools of processes to end when they have done their work, as concurrent.futures does, but do not wait."""
    pools: Any = sys.modules.get("concurrent.futures.process")
    if pools is None:
        return
    with tolerated("pools of processes are told to end"):
        pools._global_shutdown = True
        for wakeup in list(pools._threads_wakeups.values()):
            wakeup.wakeup()


# ------------------------------------------------------------------- its fork server
@contextlib.contextmanager
def forked_servers() -> Iterator[None]:
    """Have the fork server that is started meanwhile be a fork of this process, with all that this one has imported.

    multiprocessing executes a new interpreter, which imports everything anew: thousands of operations on files for each
    rank. There is no public way: the line that it would execute is run in a fork. Should the server die,
    multiprocessing starts another one, as it always does.
    """
    import multiprocessing.util
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # by the same function, but not as a fork
    module: Any = multiprocessing.util
    original = getattr(module, "spawnv_passfds", None)
    if original is None:
        not_possible("the fork server is a fork", "multiprocessing.util.spawnv_passfds is gone")
        yield
        return
    module.spawnv_passfds = _fork
    try:
        yield
    finally:
        module.spawnv_passfds = original


def _fork(path: Any, words: list[Any], descriptors: list[int]) -> int:
    """Do in a fork of this process what `python -c CODE` would do, with these connections alone; return its id."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        for descriptor in map(int, os.listdir("/proc/self/fd")):
            if descriptor > 2 and descriptor not in descriptors and _is_connection(descriptor):
                os.close(descriptor)
        exec(words[words.index("-c") + 1], {})  # noqa: S102 - the line of multiprocessing's own
        status = 0
    finally:
        os._exit(status)


def _is_connection(descriptor: int) -> bool:
    """Whether a descriptor leads to another process, which would wait for its end; files may be a module's own."""
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:  # that of the directory with the descriptors
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def process_settings() -> dict[str, Any]:
    """Return the settings of this process that multiprocessing hands on to children; a change takes effect.

    Keys: tempdir (directory of sockets), semprefix (how names of semaphores begin). Where the name is gone, an empty
    mapping of our own: changes have no effect.
    """
    import multiprocessing

    process: Any = multiprocessing.current_process()
    settings: dict[str, Any] = getattr(process, "_config", None) or {}
    return settings


def drop_semaphores(prefix: str) -> None:
    """Remove this process's semaphores of that name now: at its end multiprocessing would not find them any more."""
    import multiprocessing.synchronize
    import multiprocessing.util

    util: Any = multiprocessing.util
    with tolerated("semaphores are removed early"):
        cleanup = multiprocessing.synchronize.SemLock._cleanup  # type: ignore[attr-defined]
        for finalizer in list(util._finalizer_registry.values()):
            if finalizer._callback is cleanup and finalizer._args[0].startswith(prefix):
                with contextlib.suppress(FileNotFoundError):  # whoever shared it may have removed it
                    finalizer()
