"""Filling in the lines with which batch systems and launchers are declared (pure).

A line names fields in braces, with a unit if need be: ``--mem={memory_per_node:MiB}M``, ``-W {walltime:HH:MM}``; the
units ``largest`` and ``letter`` come with theirs: ``--mem={memory:letter}``. One
rule covers all that is optional: a line, or a piece of one (a tuple is one line in pieces), is left out when a field
that it names is None or an empty text.
"""

from __future__ import annotations

import math
import string
from collections.abc import Iterable, Mapping
from datetime import timedelta

__all__ = ["Line", "fill", "kept", "named"]

#: A tuple is one line, in pieces.
Line = str | tuple[str, ...]

_BYTES = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def fill(lines: Iterable[Line], fields: Mapping[str, object]) -> list[str]:
    """Return the lines with their fields filled in, less what is unset.

    >>> lines = "-q {queue}", ("-l nodes={nodes}", ":mem={memory:MiB}mb"), "-t {walltime:minutes}"
    >>> fill(lines, {"queue": None, "nodes": 2, "memory": 5 * 2**20, "walltime": timedelta(hours=1)})
    ['-l nodes=2:mem=5mb', '-t 60']
    """
    return [_Formatter().vformat(text, (), fields) for text in kept(lines, fields)]


def kept(lines: Iterable[Line], fields: Mapping[str, object]) -> list[str]:
    """Return the lines, unfilled, less what names a field that is None or an empty text."""
    pieces = ([line] if isinstance(line, str) else line for line in lines)
    known = ([piece for piece in line if _is_set(piece, fields)] for line in pieces)
    return ["".join(line) for line in known if line]


def _is_set(piece: str, fields: Mapping[str, object]) -> bool:
    return not any(fields[name] in (None, "") for name in named([piece]))


def named(lines: Iterable[Line]) -> set[str]:
    """Return the fields that the lines name; raises ValueError for a lone brace."""
    text = "".join("".join(line) for line in lines)
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


class _Formatter(string.Formatter):
    """Formats bytes and durations in the unit that a field asks for, rounded up."""

    def format_field(self, value: object, unit: str) -> str:
        if isinstance(value, timedelta):
            return _duration(math.ceil(value.total_seconds()), unit)
        if isinstance(value, int) and unit in _BYTES:
            return str(math.ceil(value / _BYTES[unit]))
        if isinstance(value, int) and unit == "largest":
            return _largest(value, 10)
        if isinstance(value, int) and unit == "letter":
            return _largest(value, 1)
        return str(value)


def _largest(size: int, least: int) -> str:
    """Return a size in the largest unit of which it has `least` or more, as batch systems write it: 27G, 1177M, 2K."""
    name, unit = next(((name, unit) for name, unit in reversed(_BYTES.items()) if size >= least * unit), ("KiB", 2**10))
    return f"{math.ceil(size / unit)}{name[0]}"


def _duration(seconds: int, unit: str) -> str:
    minutes = math.ceil(seconds / 60)
    match unit:
        case "seconds":
            return str(seconds)
        case "minutes":
            return str(minutes)
        case "HH:MM":
            return f"{minutes // 60:02}:{minutes % 60:02}"
        case _:
            return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
