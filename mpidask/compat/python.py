"""Private names of the standard library. Tested with CPython 3.11 to 3.14."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import stat
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

from mpidask.compat.missing import not_possible, tolerated
from mpidask.compat.setting import optimized

__all__ = [
    "at_the_end_of_the_main_thread",
    "ending_by_os_exit",
    "forked_servers",
    "hidden_main",
    "process_settings",
    "run_exit_handlers",
    "shut_pools",
]


def run_exit_handlers() -> None:
    """Call what was registered with `atexit`, and forget it.

    A rank has to call them before MPI ends, and C's exit() does not. There is no public way.

    Upstream: no issue.
    """
    with tolerated("exit handlers run before MPI ends"):
        atexit._run_exitfuncs()


def at_the_end_of_the_main_thread(function: Callable[[], None]) -> Callable[[], None]:
    """Have the interpreter call `function` when the main module has ended; return what it would have called.

    ``threading._shutdown`` is called before threads are waited for and before exit handlers; public exit handlers come
    too late: a thread that never ends would keep a rank, and with it the allocation.

    Upstream: https://github.com/python/cpython/issues/86128.
    """
    module: Any = threading
    try:
        original: Callable[[], None] = module._shutdown
    except AttributeError as error:
        not_possible("the run ends before the script's threads", error)
        atexit.register(function)
        return lambda: None
    module._shutdown = function
    return original


@contextlib.contextmanager
def hidden_main() -> Iterator[None]:
    """Have processes that multiprocessing starts meanwhile not import the user's program: they would run it again.

    multiprocessing takes it from ``sys.modules["__main__"]``, and has no switch for it.

    Upstream: no issue.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextlib.contextmanager
def ending_by_os_exit(hard_exit: Callable[[int], Any]) -> Iterator[None]:
    """Have os._exit() of the main thread call `hard_exit` first.

    It is for ranks: one that vanishes is an error to every launcher, even with status 0. Python has no hook for it.

    Upstream: no issue.
    """
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


def shut_pools() -> None:
    """Tell pools of threads and processes to end when they have done their work, but do not wait for them.

    concurrent.futures does so at the interpreter's end, and waits. It keeps its list of pools to itself: they are
    found by their type.

    Upstream: no issue.
    """
    kinds = ("concurrent.futures.thread", "ThreadPoolExecutor"), ("concurrent.futures.process", "ProcessPoolExecutor")
    pools = tuple(getattr(sys.modules[module], name) for module, name in kinds if module in sys.modules)
    for pool in [each for each in gc.get_objects() if issubclass(type(each), pools)]:
        with contextlib.suppress(Exception):  # whatever a pool of another library has to say
            pool.shutdown(wait=False)


# ------------------------------------------------------------------- its fork server
@contextlib.contextmanager
def forked_servers() -> Iterator[None]:
    """Have the fork server that is started meanwhile be a fork of this process, with all that this one has imported.

    multiprocessing executes a new interpreter, which imports everything anew: thousands of operations on files for each
    rank. There is no public way: the line that it would execute is run in a fork. Should the server die,
    multiprocessing starts another one, as it always does.

    Upstream: no issue.
    """
    if not optimized():
        yield
        return
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

    Upstream: no issue.
    """
    import multiprocessing

    process: Any = multiprocessing.current_process()
    with tolerated("multiprocessing's files are where they will be removed"):
        settings: dict[str, Any] = process._config
        return settings
    return {}
