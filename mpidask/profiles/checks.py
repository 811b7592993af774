"""Whether the keys of a file are known: with the line, and the key that may be meant (pure)."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from mpidask.profiles.file import pairs

__all__ = ["ANY", "Problem", "unknown_keys"]

#: In a schema: any key.
ANY = "*"


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something wrong in a file: a line, what it is, and what to do."""

    line: int
    what: str
    remedy: str


def unknown_keys(node: Any, schema: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[Problem]:
    """Yield the keys of a YAML node that a schema does not know, and sections that are none.

    schema: key -> schema of what is below it, None for anything
    """
    for key, value in pairs(node):
        name, line = str(key.value), key.start_mark.line + 1
        full = ".".join([*above, name])
        known = {each.replace("_", "-"): below for each, below in schema.items()}
        spelled = name.replace("_", "-")
        if spelled not in known and ANY not in known:
            close = difflib.get_close_matches(spelled, known, 1)
            hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(sorted(known))}"
            yield Problem(line, f"unknown key {full}", hint)
            continue
        below = known[spelled] if spelled in known else known[ANY]
        if below is not None and value.id != "mapping" and value.value not in ("", "null", "~"):
            yield Problem(line, f"{full} is no section", "a mapping is needed there: keys with values")
        elif below is not None:
            yield from unknown_keys(value, below, (*above, name))
