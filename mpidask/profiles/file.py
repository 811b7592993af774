"""Files of the configuration: what they say, and on which line (reads files, and nothing else)."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterable
from typing import Any

from mpidask.errors import UsageError

__all__ = ["content", "line_of", "pairs", "tree"]


def content(file: str) -> dict[str, Any]:
    """Return what a file says, nothing for one that cannot be read; raises UsageError for no YAML or no mapping."""
    try:
        state = os.stat(file)
    except OSError:
        return {}
    return _parsed(file, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=64)
def _parsed(file: str, _modified: int, _size: int) -> dict[str, Any]:
    import yaml

    try:
        with open(file, encoding="utf-8") as text:
            found = yaml.safe_load(text) or {}
    except PermissionError:
        return {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        why = getattr(error, "problem", None) or str(error)
        remedy = "mend that line; `mpidask config` prints a template"
        raise UsageError(f"{file}{where} is no YAML: {why}", remedy) from None
    if not isinstance(found, dict):
        raise UsageError(f"{file} has no keys", "`mpidask config` prints a template")
    return found


def tree(file: str) -> Any:
    """Return the nodes of a file, which know their lines; None for one that cannot be read."""
    import yaml

    with contextlib.suppress(OSError, ValueError, yaml.YAMLError), open(file, encoding="utf-8") as text:
        return yaml.compose(text, yaml.SafeLoader)
    return None


def pairs(node: Any) -> Iterable[tuple[Any, Any]]:
    """Return the keys of a mapping's node, with their values; nothing for another node."""
    return node.value if node is not None and isinstance(node.value, list) and node.id == "mapping" else ()


def line_of(node: Any, path: tuple[str, ...]) -> int | None:
    """Return the line of a key; None if it is not there (pure)."""
    line = None
    for name in path:
        spellings = {name, name.replace("_", "-"), name.replace("-", "_")}
        found = next(((key, value) for key, value in pairs(node) if key.value in spellings), None)
        if found is None:
            return None
        line, node = found[0].start_mark.line + 1, found[1]
    return line
