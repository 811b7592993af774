"""What the value of a keyword may be: reads what users and YAML write, refuses the rest (pure)."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import numbers
import os
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import Any

from mpidask import quantities
from mpidask.errors import UsageError
from mpidask.ports.port_range import PortRange

__all__ = [
    "ATTRIBUTES",
    "BYTES",
    "COUNT",
    "DIRECTIVES",
    "INTERVAL",
    "LINES",
    "MAPPING",
    "PORTS",
    "RESOURCES",
    "SHEBANG",
    "SIZE",
    "SKIPPED",
    "TEXT",
    "TIME",
    "TRUTH",
    "WALLTIME",
    "WORDS",
    "Kind",
    "UnfitError",
]

_LEAST = 1 << 20  # bytes below which no memory of a job is meant


class UnfitError(Exception):
    """A value that cannot be used: why, and what may have been meant instead."""

    def __init__(self, why: str = "", hint: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.hint = hint


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of value.

    expected: what is needed, in words
    annotation: its type, as type checkers and editors have it
    read:     returns the value as the jobs need it; raises UnfitError
    optional: whether a null in the configuration means that there is none; else it is the default
    """

    expected: str
    annotation: str
    read: Callable[[Any], Any]
    optional: bool = True


def _text(value: Any) -> str:
    if isinstance(value, list | tuple) and len(value) == 1:
        (value,) = value
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, bool):
        raise UnfitError("a truth value", "YAML reads on, off, yes and no without quotes as true and false: quote it")
    if isinstance(value, date):
        raise UnfitError("a date", "YAML reads dates without quotes: quote it")
    if isinstance(value, int | float):
        return str(value)
    if not isinstance(value, str):
        raise UnfitError
    if "\n" in value.rstrip("\n"):
        raise UnfitError("several lines", "write one line")
    return value.rstrip("\n")


def _shebang(value: Any) -> str:
    text = _text(value)
    if text and not text.startswith("#!"):
        raise UnfitError("the job script would begin with a command", f"did you mean '#!{text}'?")
    return text


def _walltime(value: Any) -> str:
    """Read a walltime: a number is refused, because batch systems count other units than YAML.

    YAML 1.1 reads 12:00:00 as 43200 (https://yaml.org/type/int.html), which Slurm takes for minutes, OAR for hours.
    """
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        total = int(float(value))
        clock = f"{total // 3600:02}:{total // 60 % 60:02}:{total % 60:02}"
        raise UnfitError(
            "a number, whose unit is unknown: YAML reads a time without quotes, such as 12:00:00, as seconds",
            f"write '{clock}' in quotes for {total} seconds; '{value}' in quotes goes to the batch system as it is",
        )
    return _text(value)


def _count(value: Any) -> int:
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdecimal():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not float(value).is_integer():
        raise UnfitError
    found = int(float(value))
    if found < 1:
        raise UnfitError("less than 1")
    return found


def _size(value: Any) -> str | int:
    if isinstance(value, numbers.Real) and not isinstance(value, bool) and float(value).is_integer():
        value = int(float(value))
    elif not isinstance(value, str):
        raise UnfitError
    try:
        found = quantities.size(str(value))
    except UsageError:
        raise UnfitError from None
    if found < _LEAST:
        number = str(value).strip()
        hint = f"did you mean '{number} GB'?" if number.isdecimal() and found else ""
        raise UnfitError(f"that is {found} bytes", hint)
    return value


def _bytes(value: Any) -> int:
    """Read a size of which the unit is documented to be bytes."""
    if isinstance(value, bool) or not isinstance(value, str | numbers.Real):
        raise UnfitError
    try:
        return quantities.size(str(value))
    except UsageError:
        raise UnfitError from None


def _time(value: Any) -> Any:
    """Read a time: as it was written if that is a word that Dask's commands read, else in seconds."""
    if isinstance(value, bool) or not isinstance(value, str | numbers.Real):
        raise UnfitError
    try:
        found = quantities.seconds(str(value))
    except UsageError as error:
        raise UnfitError("before now" if "before" in error.remedy else "") from None
    if not isinstance(value, str) or re.fullmatch(r"\d+(\.\d+)?(us|ms|s|m|h|d)?", value):
        return value
    return int(found) if found.is_integer() else found


def _truth(value: Any) -> bool:
    if isinstance(value, int) and value in (0, 1):
        return bool(value)
    raise UnfitError


def _lines(value: Any) -> list[str]:
    """Read a list of texts; a text stands for its lines."""
    if isinstance(value, str):
        return value.splitlines()
    if not isinstance(value, list | tuple | set | frozenset):
        raise UnfitError
    return [_item(each) for each in (sorted(value, key=str) if isinstance(value, set | frozenset) else value)]


def _item(value: Any) -> str:
    if isinstance(value, Mapping):
        shown = ", ".join(f"{key}: {each}" for key, each in value.items())
        raise UnfitError(f"{value!r} in it is a mapping", f"quote the line: '{shown}'")
    if value is None or isinstance(value, bool) or not isinstance(value, str | numbers.Real | os.PathLike):
        raise UnfitError(f"{value!r} in it is no text", "quote it, or leave it out")
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)


def _skipped(value: Any) -> list[str]:
    return [line for line in _lines(value) if line.strip()]  # every line contains an empty text


def _words(value: Any) -> list[str]:
    try:
        return shlex.split(value) if isinstance(value, str) else _lines(value)
    except ValueError as error:
        raise UnfitError(str(error).lower()) from None


def _directives(value: Any) -> list[str]:
    """Read option lines; the keys of a mapping are options, with their values (a null: with none)."""
    items = [_option(*each) for each in value.items()] if isinstance(value, Mapping) else _lines(value)
    lines: Iterable[str] = (line.rstrip() for item in items for line in item.splitlines())
    return [line for line in lines if line]


def _option(key: Any, value: Any) -> str:
    if isinstance(value, bool | Mapping | list | tuple):
        raise UnfitError(f"{value!r} is the value of {key!r}", f"write the line itself: ['{key} ...']")
    return _item(key) if value is None else f"{_item(key)} {_item(value)}"


def _attributes(value: Any) -> dict[str, Any]:
    found = _mapping(value)
    for key, each in found.items():
        if not isinstance(key, str) or not isinstance(each, str | numbers.Real):
            raise UnfitError(f"{each!r} is the value of {key!r}", "give each attribute a text or a number")
    return found


def _mapping(value: Any) -> dict[Any, Any]:
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = json.loads(value)
    if isinstance(value, list | tuple) and not value:  # nothing, where other systems have a list
        return {}
    if not isinstance(value, Mapping):
        raise UnfitError
    return dict(value)


def _resources(value: Any) -> dict[Any, Any]:
    found = _mapping(value)
    for key, each in found.items():
        try:
            float(each)
        except (TypeError, ValueError):
            raise UnfitError(f"{each!r} is the value of {key!r}", "give each resource a number") from None
    return found


def _ports(value: Any) -> str:
    try:
        return str(PortRange.parse(_text(value)))
    except UsageError as error:
        raise UnfitError("", error.remedy) from None


TEXT = Kind("text", "str | float | PathLike[str]", _text)
SHEBANG = Kind("a line such as '#!/bin/bash'", "str", _shebang, optional=False)
WALLTIME = Kind("a time in quotes, such as '12:00:00',", "str", _walltime)
COUNT = Kind("a whole number from 1 up", "int | str", _count)
SIZE = Kind("a size, such as '24GB',", "str | int", _size)
BYTES = Kind("a size, in bytes or such as '24GB',", "str | float", _bytes)
TIME = Kind("a time, such as 60 (seconds) or '5 min',", "str | float", _time)
INTERVAL = dataclasses.replace(TIME, optional=False)
PORTS = Kind("a range of ports, such as '40000:40100',", "str", _ports)
TRUTH = Kind("True or False", "bool", _truth, optional=False)
LINES = Kind("a list of texts, or one text,", "Collection[str]", _lines, optional=False)
SKIPPED = Kind("a list of texts, or one text,", "Collection[str]", _skipped, optional=False)
WORDS = Kind("a list of words, or one text,", "Collection[str]", _words, optional=False)
DIRECTIVES = Kind(
    "a list of option lines, or one text,", "Mapping[str, Any] | Collection[str]", _directives, optional=False
)
ATTRIBUTES = Kind(
    "a mapping of attributes of the submit description, such as {'+Project': '\"x\"'},",
    "Mapping[str, str | float] | str",
    _attributes,
    optional=False,
)
RESOURCES = Kind("a mapping, such as {'GPU': 1},", "Mapping[str, float] | str", _resources)
MAPPING = Kind("a mapping", "Mapping[str, Any] | str", _mapping, optional=False)
