"""Two reports beside each other (pure)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mpidask.report.quantity import amount, duration, percent
from mpidask.report.summary import NAMES, PARTS, Summary

__all__ = ["as_json", "lines"]


def lines(first: Summary, second: Summary, names: tuple[str, str]) -> list[str]:
    """Return a table: what differs, in each of the two, and how the second one relates to the first."""
    rows = [("", *names, ""), *_rows(first, second)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return [
        f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]:>{widths[3]}}".rstrip()
        for row in rows
    ]


def _rows(first: Summary, second: Summary) -> Iterator[tuple[str, str, str, str]]:
    for name, one, other, words in (
        ("wall time", first.wall, second.wall, duration),
        ("core-hours", first.capacity / 3600, second.capacity / 3600, "{:.3g}".format),
        ("threads", first.threads, second.threads, str),
        ("tasks", first.tasks, second.tasks, str),
        ("mean of a task", first.mean, second.mean, duration),
        ("spilled", first.spilled, second.spilled, amount),
        ("transferred", first.received, second.received, amount),
        ("restarts", first.restarts, second.restarts, str),
    ):
        yield name, words(one), words(other), _change(one, other)
    if first.peak is not None and second.peak is not None:
        yield "peak memory", amount(first.peak[1]), amount(second.peak[1]), _change(first.peak[1], second.peak[1])
    for part in PARTS:
        one, other = first.share(part), second.share(part)
        if max(one, other) >= 0.005:
            yield NAMES[part], percent(one), percent(other), f"{100 * (other - one):+.0f} points"


def _change(one: float, other: float) -> str:
    return f"{100 * (other / one - 1):+.0f} %" if one else ""


def as_json(first: Summary, second: Summary) -> dict[str, Any]:
    """Return both, for programs."""
    return {"first": first.to_json(), "second": second.to_json()}
