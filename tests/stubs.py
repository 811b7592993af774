"""The stubs of mpidask and mpidask.jobqueue: what editors and type checkers, which only read, see of them.

The signatures of cluster classes are made from tables when a module is imported. `python tests/stubs.py` writes the
stubs anew.
"""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

PACKAGES = ("mpidask", "mpidask.jobqueue")

HEAD = """\
# What editors and type checkers see of this package. `python tests/stubs.py` writes it.
import os
from collections.abc import Collection, Mapping, Sequence
from os import PathLike
from typing import Any
from distributed.security import Security
from mpi4py import MPI
"""


def stubs():
    """Return path -> text of each stub."""
    modules = map(importlib.import_module, PACKAGES)
    return {Path(module.__file__).with_suffix(".pyi"): formatted(stub(module)) for module in modules}


def stub(package):
    """Return the stub of a package: its public names, and classes with the keywords that their signatures show."""
    imports, others = [HEAD], []
    for name in package.__all__:
        value = getattr(package, name)
        if name == "__version__":
            others.append("__version__: str")
        elif is_made(value) and home(value) == package.__name__:
            imports.append(f"from {value.__module__} import {name} as _{name}")
            others.append(class_of(name, value))
        else:
            imports.append(f"from {home(value) if is_made(value) else value.__module__} import {name} as {name}")
    return "\n".join([*imports, *others])


def is_made(value):
    """Whether a class has a signature with more than its code says."""
    if not (inspect.isclass(value) and inspect.isfunction(value.__init__)):
        return False
    return not set(inspect.signature(value).parameters) <= set(value.__init__.__code__.co_varnames)


def home(value):
    """Return the package that exports a class."""
    return max((each for each in PACKAGES if value.__module__.startswith(each)), key=len)


def class_of(name, value):
    parameters = ["self", *written(inspect.signature(value).parameters.values())]
    return f"class {name}(_{name}):\n    def __init__({', '.join(parameters)}) -> None: ..."


def written(parameters):
    """Yield parameters as they are written."""
    keywords = False
    for each in parameters:
        if each.kind is each.KEYWORD_ONLY and not keywords:
            keywords = True
            yield "*"
        default = each.default if each.default is None or isinstance(each.default, bool | int | str) else "..."
        default = repr(default) if default != "..." else default
        value = "" if each.default is each.empty else f" = {default}"
        yield f"{'**' if each.kind is each.VAR_KEYWORD else ''}{each.name}: {each.annotation}{value}"


def formatted(text):
    for command in (["check", "-q", "--fix", "--select", "I,F401"], ["format", "-q"]):
        words = [str(Path(sys.executable).with_name("ruff")), *command, "--stdin-filename", "mpidask/stub.pyi", "-"]
        text = subprocess.run(words, input=text, capture_output=True, text=True, check=True).stdout
    return text


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    for path, text in stubs().items():
        path.write_text(text)
