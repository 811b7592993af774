"""Finds modules by the listings of directories, each read once, where Python looks for every module.

While Dask is imported that is a third of all questions to a metadata server. What is not found here, or lies elsewhere
than in plain directories, is left to Python's own finders.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    FileFinder,
    ModuleSpec,
)

__all__ = ["ListingFinder"]

_SUFFIXES = [*EXTENSION_SUFFIXES, *SOURCE_SUFFIXES, *BYTECODE_SUFFIXES]  # in the order in which Python tries them


class ListingFinder:
    """Knows what was in each directory when it was first asked for; for start-up only, while nothing changes there.

    Not derived from PathFinder: the package importlib_metadata would take it for a second finder of distributions.
    """

    def __init__(self) -> None:
        self._listings: dict[str, frozenset[str]] = {}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: object | None = None
    ) -> ModuleSpec | None:
        """Return where a module is; None if it is not in these directories, is a namespace, or is being reloaded."""
        if target is not None:
            return None
        module = name.rpartition(".")[2]
        with contextlib.suppress(OSError, TypeError, ValueError):  # no plain directory, or no path at all
            for entry in sys.path if path is None else path:
                if not isinstance(sys.path_importer_cache.get(entry), FileFinder | None):
                    return None
                if (file := self._file(os.path.abspath(entry), module)) is not None:
                    return importlib.util.spec_from_file_location(name, file)
        return None

    def _file(self, directory: str, module: str) -> str | None:
        """Return the file of a module in a directory; raises OSError if that is not one."""
        names = self._list(directory)
        if module in names:
            package = os.path.join(directory, module)
            with contextlib.suppress(NotADirectoryError):  # a program's name
                if (file := _first("__init__", self._list(package))) is not None:
                    return os.path.join(package, file)
        file = _first(module, names)
        return None if file is None else os.path.join(directory, file)

    def _list(self, directory: str) -> frozenset[str]:
        if directory not in self._listings:
            try:
                names = os.listdir(directory)
            except (FileNotFoundError, PermissionError):  # as Python has it
                names = []
            self._listings[directory] = frozenset(names)
        return self._listings[directory]


def _first(module: str, names: frozenset[str]) -> str | None:
    return next((module + suffix for suffix in _SUFFIXES if module + suffix in names), None)
