"""Runs a notebook as a program: its outputs go to another notebook beside it."""

from __future__ import annotations

import argparse
import ast
import contextlib
import dataclasses
import importlib.util
import itertools
import os
import re
import secrets
import sys
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from mpidask.errors import UsageError

__all__ = [
    "OPTIONS",
    "ExecutedNotebook",
    "NotebookSpec",
    "default_output",
    "execute",
    "is_notebook",
    "read",
    "refuse_words",
    "starts_kernels",
    "value",
]

#: Those that stand after a notebook.
OPTIONS = ("-p", "--parameters", "-o", "--output")

_PARSED = (bool, int, float, type(None))
_LONGEST = 80  # characters of parameters in a file's name

#: Modules that run notebooks.
_RUNNERS = ("jupyter", "jupyter_client", "nbclient", "nbconvert", "papermill")


@dataclasses.dataclass(frozen=True)
class NotebookSpec:
    """What is to be run: the notebook, where it is written with its outputs, and values for its parameters."""

    path: str
    output: str
    parameters: Mapping[str, Any]


def is_notebook(kind: str, name: str) -> bool:
    """Whether a program is a notebook (pure)."""
    return kind == "file" and name.endswith(".ipynb")


def starts_kernels(kind: str, name: str) -> bool:
    """Whether a program runs notebooks, whose kernels are processes of their own (pure)."""
    return is_notebook(kind, name) or (kind == "module" and name.partition(".")[0] in _RUNNERS)


def read(path: str, arguments: Sequence[str]) -> NotebookSpec:
    """Return what a notebook and the words after it mean; raises UsageError for what cannot be run."""
    if not os.path.exists(path):
        raise UsageError(f"can't open {path!r}: no such file or directory", "give the path of a notebook")
    given = _parser(path).parse_args(arguments)
    parameters = {name: value(text) for name, text in given.parameters}
    for module in ("nbclient", "ipykernel", *(["papermill"] if parameters else [])):
        if importlib.util.find_spec(module) is None:
            what = "-p needs papermill" if module == "papermill" else f"a notebook needs {module}"
            raise UsageError(f"{what}, which is not installed", f"{sys.executable} -m pip install {module}")
    spec = NotebookSpec(path, given.output or default_output(path, given.parameters), parameters)
    if not os.access(os.path.dirname(os.path.abspath(spec.output)), os.W_OK):
        raise UsageError(f"the executed notebook {spec.output} cannot be written", "name another place: --output FILE")
    return spec


def refuse_words(path: str, arguments: Sequence[str]) -> None:
    """Raise UsageError for words after a notebook that mean nothing; what a job needs is not looked for here."""
    _parser(path).parse_args(arguments)


def default_output(path: str, parameters: Sequence[Sequence[str]]) -> str:
    """Return where a notebook is written with its outputs: runs with different parameters do not share a file (pure).

    parameters: names and values, as they were typed
    """
    typed = ".".join(f"{name}={text}" for name, text in parameters)
    label = re.sub(r"[^\w.,=+-]", "_", typed, flags=re.ASCII)
    if len(label) > _LONGEST or not typed.isascii():
        label = f"{label[:_LONGEST]}-{zlib.crc32(typed.encode()):08x}"
    return ".".join(filter(None, [path.removesuffix(".ipynb"), label, "executed.ipynb"]))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Raise it as ours."""
        raise UsageError(f"{self.prog}: {message}", "after the notebook: -p NAME VALUE (repeatable), --output FILE")


def _parser(path: str) -> argparse.ArgumentParser:
    parser = _Parser(prog=os.path.basename(path), add_help=False, allow_abbrev=False)
    parser.add_argument(*OPTIONS[:2], nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    parser.add_argument(*OPTIONS[2:])
    return parser


def value(text: str) -> Any:
    """Return a number, a truth value or None as papermill reads it; all else is text."""
    with contextlib.suppress(ValueError, SyntaxError):
        found = ast.literal_eval(text)
        if isinstance(found, _PARSED):
            return found
    return text


class ExecutedNotebook:
    """The file with a notebook and its outputs, which is written again and again.

    path: where it is. If another run, or the user, writes there meanwhile, both texts stay: this one moves.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._written: tuple[int, int] | None = None

    def write(self, text: str) -> None:
        """Write it, so that a reader sees all of it or none; raises OSError."""
        found = _version(self.path)
        if None not in (found, self._written) and found != self._written:
            self._move()
        part = f"{self.path}.{secrets.token_hex(4)}.part"  # two runs may write at the same time
        try:
            Path(part).write_text(text, encoding="utf-8")
            os.replace(part, self.path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(part)
            raise
        self._written = _version(self.path)

    def _move(self) -> None:
        stem = self.path.removesuffix(".ipynb")
        others = (f"{stem}-{number}.ipynb" for number in itertools.count(2))
        taken, self.path = self.path, next(other for other in others if not os.path.exists(other))
        sys.stderr.write(f"mpidask: something else has written {taken}: the outputs of this run go to {self.path}\n")


def _version(path: str) -> tuple[int, int] | None:
    """Return what tells a version of a file from another, None if it is not there."""
    try:
        about = os.stat(path)
    except FileNotFoundError:
        return None
    return about.st_ino, about.st_mtime_ns


def execute(spec: NotebookSpec) -> NoReturn:
    """Run it; raises SystemExit with its status. What a cell prints is printed, a failing cell's traceback once."""
    from mpidask.launch.script.notebook_client import NotebookRun

    run = NotebookRun(_loaded(spec), os.path.dirname(os.path.abspath(spec.path)))
    executed = ExecutedNotebook(spec.output)

    def save() -> None:
        executed.write(_nbformat().writes(run.nb))

    run.save = save
    try:
        status = run.to_the_end(spec.path)
    finally:  # the walltime may end it
        save()
    if status:
        sys.stderr.write(f"mpidask: the outputs so far are in {executed.path}\n")
    raise SystemExit(status)


def _loaded(spec: NotebookSpec) -> Any:
    """Return the notebook with the values of its parameters."""
    if spec.parameters:
        from papermill.iorw import load_notebook_node
        from papermill.parameterize import parameterize_notebook

        content = load_notebook_node(spec.path)
        kernel = content.metadata.get("kernelspec", {})
        names = {"kernel_name": kernel.get("name", "python3"), "language": kernel.get("language", "python")}
        return parameterize_notebook(content, spec.parameters, **names)
    return _nbformat().read(spec.path, as_version=4)


def _nbformat() -> Any:
    return importlib.import_module("nbformat")
