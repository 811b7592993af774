"""Runs the user's program as ``__main__`` of this process, as the interpreter itself would."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.machinery
import importlib.util
import io
import marshal
import os
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from mpidask.errors import UsageError

__all__ = ["INTERRUPTED", "Code", "Program", "directory", "load", "run"]

INTERRUPTED = 130  # as a shell reports a process that ended by SIGINT

_OURS = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

_HEADER = 16  # bytes before the code in a .pyc file

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


def directory(program: Program) -> str | None:
    """Return what the interpreter puts first on sys.path for this program, as an absolute path; None for nothing.

    With ``-P`` or PYTHONSAFEPATH it is nothing, unless the program is a directory or a zip file.
    """
    if program.kind == "file" and _holds_main(program.name):
        return os.path.abspath(program.name)
    if sys.flags.safe_path:
        return None
    if program.kind == "file":
        return os.path.dirname(os.path.realpath(program.name))
    return os.getcwd()


def load(program: Program, options: Sequence[str] = ()) -> Code:
    """Make this process's ``__main__``, sys.argv and sys.path the program's; return what compiles it.

    sys.path has nothing of our own in front.

    options: the interpreter's
    Raises UsageError if there is nothing to run.
    """
    main = sys.modules["__main__"]
    names = main.__dict__
    for name in names.keys() - {"__name__", "__builtins__"}:
        del names[name]
    names |= {"__doc__": None, "__package__": None, "__loader__": None, "__spec__": None}
    first = directory(program)
    if first is not None:
        sys.path.insert(0, "" if program.kind == "code" else first)
    code = _load_notebook(program) or _LOADERS[program.kind](program.name, main)
    word = {"code": "-c", "module": "-m"}.get(program.kind)
    sys.argv = [word or program.name, *program.arguments]
    words = [word, program.name] if word else [program.name]
    sys.orig_argv = [sys.orig_argv[0], *options, *words, *program.arguments]
    return code


def _load_notebook(program: Program) -> Code | None:
    from mpidask.launch.script import notebook  # not at the top: ranks that only wait do without

    if not notebook.is_notebook(program.kind, program.name):
        return None
    spec = notebook.read(program.name, program.arguments)
    return functools.partial(notebook.execute, spec)


def _load_code(source: str, main: types.ModuleType) -> Code:
    main.__loader__ = importlib.machinery.BuiltinImporter  # as the interpreter has it
    return lambda: compile(source, "<string>", "exec", dont_inherit=True)


def _load_file(path: str, main: types.ModuleType) -> Code:
    if _holds_main(path):
        return _from_spec(importlib.machinery.PathFinder.find_spec("__main__", [os.path.abspath(path)]), path, main)
    given, path = path, os.path.abspath(path)  # as the interpreter shows it
    try:
        with io.open_code(path) as file:
            source = file.read()
    except OSError as error:
        raise UsageError(f"can't open {given!r}: {error.strerror}", "give the path of a Python script") from None
    main.__file__ = path
    main.__dict__["__cached__"] = None
    if source.startswith(importlib.util.MAGIC_NUMBER):
        main.__loader__ = importlib.machinery.SourcelessFileLoader("__main__", path)
        return lambda: marshal.loads(source[_HEADER:])  # noqa: S302 - the user's program
    main.__loader__ = importlib.machinery.SourceFileLoader("__main__", path)
    return lambda: compile(source, path, "exec", dont_inherit=True)


def _holds_main(path: str) -> bool:
    import zipfile  # not at the top, for the same reason

    return os.path.isdir(path) or zipfile.is_zipfile(path)


def _load_module(name: str, main: types.ModuleType) -> Code:
    """Look for its package alone: what is imported for a module in it belongs to the program."""
    if importlib.util.find_spec(name.partition(".")[0]) is None:
        raise UsageError(f"no module named {name!r}", "check the name and PYTHONPATH")

    def code() -> types.CodeType:
        try:
            spec = importlib.util.find_spec(name)
            if spec is not None and spec.submodule_search_locations is not None:
                spec = importlib.util.find_spec(f"{name}.__main__")
        except (ImportError, ValueError) as error:
            raise UsageError(f"no module named {name!r}: {error}", "check the name and PYTHONPATH") from None
        found = _from_spec(spec, name, main)
        sys.argv[0] = str(main.__file__)
        return found()

    return code


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


def run(code: Code, ended: Callable[[int], Any] = lambda status: None) -> NoReturn:
    """Run a loaded program; raises SystemExit with its status, which is for the interpreter to act on.

    ended: called with the exit status as soon as the program has ended, however it did
    """
    status: Any = 0
    try:
        exec(code(), sys.modules["__main__"].__dict__)  # noqa: S102 - this is what the user asked for
    except SystemExit as stop:
        status = stop.code
        ended(status if isinstance(status, int) else int(status is not None))
        raise
    except UsageError as error:  # the module cannot be run
        sys.stderr.write(error.text())
        status = error.status
    except BaseException as error:  # noqa: BLE001 - shown as the interpreter shows it
        status = INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1
        _report(error)
    ended(status)
    raise SystemExit(status)


def _report(error: BaseException) -> None:
    """Print a traceback that begins in the user's program, as the interpreter would."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_OURS + os.sep):
        trace = trace.tb_next
    error = error.with_traceback(trace)
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, trace
    if sys.version_info >= (3, 12):  # before, the interpreter does not forget it at its end
        sys.last_exc = error
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    sys.excepthook(type(error), error, trace)
