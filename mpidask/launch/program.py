"""Runs the user's program as ``__main__``, as the interpreter itself would, and turns its end into an exit status."""

from __future__ import annotations

import atexit
import concurrent.futures.thread
import contextlib
import dataclasses
import gc
import importlib.machinery
import importlib.util
import io
import os
import sys
import threading
import time
import types
import zipfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from mpidask.errors import UsageError

__all__ = ["INTERRUPTED", "Program", "ending_by_os_exit", "hidden_main", "left_threads", "load", "run", "wind_down"]

INTERRUPTED = 130  # as a shell reports a process that ended by SIGINT

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

#: Gives the code of the program; raises SyntaxError.
Code = Callable[[], types.CodeType]


@dataclasses.dataclass(frozen=True)
class Program:
    """What the user wants to be run.

    kind:      "file", "module" (-m) or "code" (-c)
    name:      path, module name or the code itself
    arguments: sys.argv[1:] of the program
    """

    kind: str
    name: str
    arguments: tuple[str, ...] = ()


def load(program: Program) -> Code:
    """Install the program's ``__main__``, sys.argv and sys.path[0]; return what compiles it.

    Raises UsageError if there is nothing to run.
    """
    main = types.ModuleType("__main__")
    main.__dict__["__builtins__"] = __builtins__
    code = _LOADERS[program.kind](program.name, main)
    first = {"code": "-c", "module": getattr(main, "__file__", "-m")}.get(program.kind, program.name)
    sys.argv = [str(first), *program.arguments]
    sys.modules["__main__"] = main
    return code


def _load_code(source: str, main: types.ModuleType) -> Code:
    sys.path[0] = ""
    return lambda: compile(source, "<string>", "exec", dont_inherit=True)


def _load_file(path: str, main: types.ModuleType) -> Code:
    if os.path.isdir(path) or zipfile.is_zipfile(path):
        return _load_directory(path, main)
    try:
        with io.open_code(os.path.abspath(path)) as file:
            source = file.read()
    except OSError as error:
        raise UsageError(f"can't open {path!r}: {error.strerror}", "give the path of a Python script") from None
    sys.path[0] = os.path.dirname(os.path.realpath(path))
    main.__file__ = path
    main.__dict__["__cached__"] = None
    return lambda: compile(source, path, "exec", dont_inherit=True)


def _load_directory(path: str, main: types.ModuleType) -> Code:
    sys.path[0] = path
    spec = importlib.machinery.PathFinder.find_spec("__main__", [path])
    return _from_spec(spec, path, main)


def _load_module(name: str, main: types.ModuleType) -> Code:
    sys.path[0] = os.getcwd()
    try:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = importlib.util.find_spec(f"{name}.__main__")
    except (ImportError, ValueError) as error:
        raise UsageError(f"no module named {name!r}: {error}", "check the name and PYTHONPATH") from None
    return _from_spec(spec, name, main)


def _from_spec(spec: importlib.machinery.ModuleSpec | None, name: str, main: types.ModuleType) -> Code:
    get_code = getattr(spec.loader, "get_code", None) if spec else None
    if spec is None or get_code is None:
        raise UsageError(f"no module named {name!r} that can be run", "check the name and PYTHONPATH")
    main.__spec__, main.__loader__ = spec, spec.loader
    main.__file__, main.__package__ = spec.origin, spec.parent
    full_name = spec.name
    return lambda: get_code(full_name)


_LOADERS: dict[str, Callable[[str, types.ModuleType], Code]] = {
    "file": _load_file,
    "module": _load_module,
    "code": _load_code,
}


def run(code: Code, hard_exit: Callable[[int], Any], ended: Callable[[], Any] = lambda: None) -> int:
    """Run a loaded program in this process and return its exit status.

    hard_exit: called for os._exit() in the main thread: it ends the run in order, with that status
    ended:     called as soon as the program has ended, however it did
    """
    with ending_by_os_exit(hard_exit):
        try:
            try:
                exec(code(), sys.modules["__main__"].__dict__)  # noqa: S102 - this is what the user asked for
            finally:
                ended()
        except SystemExit as stop:
            return _status_of(stop)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the ranks must end
            _report(error)
            return INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1
    return 0


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


def _status_of(stop: SystemExit) -> int:
    if stop.code is None:
        return 0
    if isinstance(stop.code, int):
        return stop.code & 0xFF
    print(stop.code, file=sys.stderr)
    return 1


def _report(error: BaseException) -> None:
    """Print a traceback that begins in the user's program, as the interpreter would."""
    trace = error.__traceback__
    while trace is not None and os.path.abspath(trace.tb_frame.f_code.co_filename).startswith(_OURS + os.sep):
        trace = trace.tb_next
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    sys.excepthook(type(error), error.with_traceback(trace), trace)


def wind_down(before: Iterable[threading.Thread], grace: float) -> None:
    """Do what the interpreter does at its end, without waiting for ever: threads, then exit handlers.

    before: threads that were there before the program
    grace:  s that threads which the program left running are waited for
    """
    with contextlib.suppress(KeyboardInterrupt):
        pools = set(concurrent.futures.thread._threads_queues)  # waiting in vain for work, most of them
        _join(left_threads(before) - pools, grace)
        atexit._run_exitfuncs()
        _end_pools()  # idle threads end at once; those that work get the grace
        _join(left_threads(before) & set(concurrent.futures.thread._threads_queues), grace)
        _flush_files()


def _end_pools() -> None:
    """Tell the threads of pools to end, as concurrent.futures does at the interpreter's end, but do not wait for them.

    No thread is started for it: Python 3.12.0 to 3.12.2 start none when the interpreter ends.
    """
    pools: Any = concurrent.futures.thread
    with pools._global_shutdown_lock:
        pools._shutdown = True
    for queue in list(pools._threads_queues.values()):
        queue.put(None)


def _flush_files() -> None:
    """Write out what files that the program left open still hold: the interpreter would, at its very end."""
    files = [each for each in gc.get_objects() if issubclass(type(each), io.TextIOBase | io.BufferedIOBase)]
    for file in sorted(files, key=lambda each: not issubclass(type(each), io.TextIOBase)):  # a text's buffer after it
        with contextlib.suppress(Exception):
            file.flush()


def left_threads(before: Iterable[threading.Thread]) -> set[threading.Thread]:
    """Return the threads that run and that an interpreter waits for, but for those that were there before."""
    known = {*before, threading.main_thread()}
    return {thread for thread in threading.enumerate() if not thread.daemon and thread not in known}


def _join(threads: set[threading.Thread], grace: float) -> None:
    deadline = time.monotonic() + grace
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    names = ", ".join(sorted(thread.name for thread in threads if thread.is_alive()))
    if names:
        sys.stderr.write(f"mpidask: warning: threads that the script left did not end within {grace:g} s: {names}\n")
