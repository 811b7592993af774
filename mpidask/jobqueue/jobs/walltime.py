"""Walltimes, as batch systems write them, in seconds (pure)."""

from __future__ import annotations

import re

from mpidask.batch.system import BatchSystem

__all__ = ["walltime_seconds"]


def walltime_seconds(system: BatchSystem, text: object) -> float | None:
    """Return a walltime in seconds; None for none, or for words that are only the batch system's.

    Batch systems agree on 1:30:00 and 1-12:00:00; what one or two numbers mean is a fact of each.
    """
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", str(text or "").strip())
    if match is None or system.workers is None:
        return _span(str(text or ""))
    days, *numbers = (None if part is None else int(part) for part in match.groups())
    given = [number for number in numbers if number is not None]
    if days is not None:
        units = ["h", "m", "s"]
    else:
        short = system.workers.walltime
        units = {1: [short[0]], 2: [*short[1]], 3: ["h", "m", "s"]}[len(given)]
    seconds = {"h": 3600, "m": 60, "s": 1}
    return (days or 0) * 86400 + sum(number * seconds[unit] for number, unit in zip(given, units, strict=False))


def _span(text: str) -> float | None:
    """Return a time such as Flux has it: 30m, 1.5h, 90s."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]] if match else None
