"""Dask's configuration: the section mpidask, where its keys stand, and what is wrong with a file."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import importlib
import os
import re
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mpidask.errors import UsageError

__all__ = ["as_usage_error", "check_files", "is_standard", "keys", "label", "origin", "section", "stands_in"]

#: Sections of a configuration file that are not mpidask's.
_OF_OTHERS = (
    "array admin backends cloudprovider dask-gateway dataframe diagnostics distributed dask fuse gateway jobqueue "
    "kubernetes labextension local logging logging-file-config optimization pool p2p rmm scheduler scheduler-address "
    "shuffle temporary-directory tokenize ucx visualization yarn"
)

#: How Dask says that it cannot read one of its files.
_MALFORMED = re.compile(r"A dask config file at '(?P<file>.*)' is malformed.*?\n\n(?P<why>.*)", re.DOTALL)


def section(*path: str) -> dict[str, Any]:
    """Return what the configuration has under `mpidask`, or deeper.

    path: names of further sections, such as "batch"
    Raises UsageError for a file that is no YAML, and for what is no section.
    """
    found = _dask_config().get(".".join(["mpidask", *path]), default=None)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise UsageError(f"{label(*path)} is {found!r}", "a mapping is needed there: keys with values")
    return found


def _dask_config() -> types.ModuleType:
    """Return dask.config, which reads the files when it is imported; raises UsageError for one that is no YAML."""
    try:
        return importlib.import_module("dask.config")
    except ValueError as error:
        raise as_usage_error(error) or error from None


def as_usage_error(error: ValueError) -> UsageError | None:
    """Return Dask's error for a configuration file that is no YAML as one message; None for another error."""
    match = _MALFORMED.match(str(error))
    if match is None:
        return None
    position = re.search(r"line (\d+), column (\d+)", match["why"])
    where = f", line {position[1]}, column {position[2]}" if position else ""
    why = ", ".join(line for line in match["why"].splitlines() if line[:1].strip())
    return UsageError(f"{match['file']}{where} is no YAML: {why}", "mend that line; `mpidask config` prints a template")


def check_files(valid: Mapping[str, str]) -> None:
    """Raise UsageError for a file mpidask.yaml with a top-level key that nothing reads.

    valid: key of the section mpidask -> its full name, for those who forget the section
    """
    for file in _files():
        if os.path.basename(file) == "mpidask.yaml":
            for key, line in _top_level(file):
                if key not in _known():
                    raise UsageError(f"unknown key {key} ({file}, line {line})", _hint(key, valid))


def _hint(key: str, valid: Mapping[str, str]) -> str:
    names = {name.replace("_", "-"): full for name, full in valid.items()} | {"mpidask": "mpidask"}
    close = difflib.get_close_matches(key.replace("_", "-"), names, 1)
    meant = f"did you mean {names[close[0]]}? " if close else ""
    return f"{meant}options stand indented under `mpidask:`; `mpidask config` prints them all"


@functools.cache
def _known() -> frozenset[str]:
    by_default = {key for defaults in _dask_config().defaults for key in defaults}
    return frozenset({"mpidask", *_OF_OTHERS.split(), *(key.replace("_", "-") for key in by_default), *by_default})


@functools.cache
def _top_level(file: str) -> tuple[tuple[str, int], ...]:
    """Return the keys of a file with their lines."""
    return tuple((str(key.value), key.start_mark.line + 1) for key, _ in _pairs(_tree(file)))


def label(*path: str) -> str:
    """Return how a key of the section mpidask is called in messages: by name and place, or its environment variable."""
    place = stands_in("mpidask", *path)
    name = ".".join(["mpidask", *path])
    if place is None:
        return f"{name} in the configuration"
    return place if place.startswith("DASK_") else f"{name} ({place})"


def origin(*path: str) -> str:
    """Return `` (in FILE, line N)`` for the place where a key of section mpidask stands, "" if none has it."""
    found = stands_in("mpidask", *path)
    return f" (in {found})" if found else ""


def stands_in(*path: str) -> str | None:
    """Return the environment variable, or file and line, in which a key stands; None if it stands in none."""
    wanted = [each.lower().replace("-", "_") for each in path]
    for name in os.environ:
        if name.startswith("DASK_") and name[5:].lower().replace("-", "_").split("__") == wanted:
            return name
    for file in _files():
        line = _line_of(_tree(file), path)
        if line is not None:
            return f"{file}, line {line}"
    return None


def _files() -> Iterator[str]:
    """Yield the files that Dask reads, those that count first."""
    for place in map(str, reversed(_dask_config().paths)):
        names = sorted(os.listdir(place)) if os.path.isdir(place) else [os.path.basename(place)]
        directory = place if os.path.isdir(place) else os.path.dirname(place)
        yield from (os.path.join(directory, name) for name in names if name.endswith((".yaml", ".yml", ".json")))


def _tree(file: str) -> Any:
    """Return the nodes of a file, which know their lines; None for one that cannot be read."""
    import yaml

    with contextlib.suppress(OSError, ValueError, yaml.YAMLError), open(file, encoding="utf-8") as content:
        return yaml.compose(content, yaml.SafeLoader)
    return None


def _pairs(node: Any) -> Iterable[tuple[Any, Any]]:
    return node.value if node is not None and isinstance(node.value, list) and node.id == "mapping" else ()


def _line_of(node: Any, path: tuple[str, ...]) -> int | None:
    """Return the line of a key; None if it is not there (pure)."""
    line = None
    for name in path:
        spellings = {name, name.replace("_", "-"), name.replace("-", "_")}
        found = next(((key, value) for key, value in _pairs(node) if key.value in spellings), None)
        if found is None:
            return None
        line, node = found[0].start_mark.line + 1, found[1]
    return line


def is_standard(key: str) -> bool:
    """Whether a key of Dask's configuration has the value that Dask gives it."""
    import dask.config

    return dask.config.get(key) in [dask.config.get(key, None, config=dict(each)) for each in dask.config.defaults]


def keys(kind: type, indent: str) -> list[str]:
    """Return the commented lines of a section of the configuration: the fields of a dataclass of options."""
    lines = []
    for field in dataclasses.fields(kind):
        value = str(field.default).lower() if isinstance(field.default, bool) else field.default
        value = "null" if value is None else [] if value == () else value
        lines.append(f"# {indent}{field.name.replace('_', '-')}: {value}  # {field.metadata['help']}")
    return lines
