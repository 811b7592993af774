"""What users write for times, sizes, paths and options, and the values that it stands for."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, Self

from mpidask.errors import UsageError

__all__ = ["Parsed", "checked", "memory", "path", "plausible", "seconds", "size", "working_directory"]

_LEAST_MEMORY = 1 << 20  # bytes below which no worker's memory is meant


class Parsed(str):
    """What the user has written, with the value that it stands for: a rank that imports no Dask cannot parse it."""

    __slots__ = ("value",)
    value: float | None

    def __new__(cls, text: str, value: float | None) -> Self:
        """Return the text with its value."""
        parsed = super().__new__(cls, text)
        parsed.value = value
        return parsed

    def __getnewargs__(self) -> tuple[str, float | None]:  # type: ignore[override]  # as pickle takes it
        """Return the arguments for a copy."""
        return str(self), self.value


def seconds(text: str, name: str = "the time") -> float:
    """Return a duration such as '300', '5 min' or '90s' in seconds."""
    if isinstance(text, Parsed):
        return text.value or 0.0
    from dask.utils import parse_timedelta

    try:
        value = float(parse_timedelta(re.sub(r"(?<![a-zA-Z])mins?$", "m", text.strip())))  # which Dask does not know
    except (ValueError, KeyError, TypeError, IndexError):
        raise UsageError(f"{name} is {text!r}", "a time is needed, such as '90 s' or '5 min'") from None
    if value < 0:
        raise UsageError(f"{name} is {text!r}", "a time is needed, not one before now")
    return value


def path(text: str, name: str = "the path") -> str:
    """Return a path as the shell reads it now: `~` and variables stand for what they are; raises UsageError."""
    read = os.path.expandvars(os.path.expanduser(text))
    left = re.search(r"\$(\w+|\{[^}]*\})", read)
    if left or read.startswith("~"):
        what = left[0] if left else read.split("/")[0]
        raise UsageError(f"{name} is {text!r}, and {what} stands for nothing here", "set it, or write the path in full")
    return read


def size(text: str, name: str = "the size") -> int:
    """Return a memory size such as '4 GiB' in bytes."""
    from dask.utils import parse_bytes

    try:
        value = int(parse_bytes(text))
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{name} is {text!r}", "a size is needed, such as '4 GiB', or 0 for no limit") from None
    if value < 0:
        raise UsageError(f"{name} is {text!r}", "a size from 0 up is needed")
    return value


def memory(text: str, name: str = "the memory") -> int | float | None:
    """Return a limit on memory: bytes, or a fraction (0 to 1) of the node's; None for an automatic one."""
    if isinstance(text, Parsed):
        return text.value
    if text == "auto":
        return None
    try:
        fraction = float(text)
    except ValueError:
        fraction = 0
    if 0 < fraction <= 1 and text != "1":
        return fraction
    return plausible(size(text, name), text, name, "; 0: no limit")


def plausible(found: int, text: str, name: str, otherwise: str = "") -> int:
    """Return a memory size; raises UsageError for one that is so small that its unit is missing.

    otherwise: what else may be written
    """
    if 0 < found < _LEAST_MEMORY:
        remedy = f"with a unit it is more: '{text.strip()} GB'{otherwise}"
        raise UsageError(f"{name} is {text!r}, {found} bytes", remedy)
    return found


def checked(kind: type, values: Mapping[str, Any], label: Callable[[str], str]) -> dict[str, Any]:
    """Return option name -> value of the type that the dataclass `kind` declares; raises UsageError.

    label: returns how a key is called in messages
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}
    result = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in fields:
            import difflib  # not at the top: ranks that only wait do without

            close = difflib.get_close_matches(name, fields, 1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise UsageError(f"unknown option: {label(key)}", f"{hint}There are: {', '.join(fields)}")
        if value is not None:
            result[name] = _of_type(value, str(fields[name].type), label, key)
    return result


#: What a field's declared type takes, and how to say so.
_TYPES = {
    "bool": (bool, "yes or no"),
    "int": (int, "a whole number"),
    "Mapping[str,": (dict, "a mapping (JSON)"),
    "tuple[str,": (tuple, "a list"),
}


def _of_type(value: Any, declared: str, label: Callable[[str], str], key: str) -> Any:
    """Return a value as the type that a field declares."""
    kind, words = _TYPES.get(declared.split(" ", maxsplit=1)[0], (str, "text"))
    if kind is str and isinstance(value, int | float | os.PathLike) and not isinstance(value, bool):
        return os.fspath(value) if isinstance(value, os.PathLike) else str(value)
    if kind is dict and isinstance(value, str):
        import json  # not at the top: ranks that only wait do without

        with contextlib.suppress(ValueError):
            value = json.loads(value)
    if kind is tuple and isinstance(value, str | list | tuple):
        value = (value,) if isinstance(value, str) else tuple(str(each) for each in value)
    if kind is bool and type(value) is int and value in (0, 1):
        value = bool(value)
    if type(value) is not kind and not isinstance(value, Parsed):
        raise UsageError(f"{label(key)} is {value!r}", f"{words} is needed there")
    return value


def working_directory() -> str:
    """Return it; raises UsageError if somebody has removed it."""
    try:
        return os.getcwd()
    except OSError as error:
        here = os.readlink("/proc/self/cwd").removesuffix(" (deleted)")
        raise UsageError(
            f"the working directory {here} is not there any more: {error.strerror}",
            f"make it again: mkdir -p {here}; cd {here}",
        ) from None
