"""The live view of a job, in lines (pure): the job, its workers, its latest messages."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from dask.utils import format_bytes
from rich.cells import cell_len, set_cell_size
from rich.text import Text

__all__ = ["View", "lines", "summary"]

_GAP = "  "
_BAR = 20  # characters
_MESSAGES = 5  # lines of messages that are shown however many workers there are
_HIGH, _FULL = 0.8, 0.95  # of the memory limit
_CAUTION = "black on yellow"  # yellow words cannot be read on white
_STATES = {
    "running": "green",
    "paused": _CAUTION,
    "held": _CAUTION,
    "pending": "cyan",
    "dead": "bold red",
    "gone": "bold red",
    "failed": "bold red",
    "cancelled": "magenta",
}


@dataclasses.dataclass(frozen=True)
class View:
    """What is known of a job at one moment.

    title:    of the job
    state:    in one word
    standing: what else is known of how it stands, "" for nothing
    workers:  how many are up, None if that is not known
    expected: how many there are to be
    numbers:  as `mpidask.dashboard.table.numbers` has them, None if there are none
    trouble:  why there are no numbers, or no new ones; "" for no reason
    output:   the last lines that the job has printed
    """

    title: str
    state: str
    standing: str = ""
    workers: int | None = None
    expected: int | None = None
    numbers: Mapping[str, Any] | None = None
    trouble: str = ""
    output: Sequence[str] = ()


def lines(view: View, width: int | None, height: int | None = None, marks: str = "#-") -> list[Text]:
    """Return the lines.

    width:  what a line may have; None for no limit
    height: how many lines there may be; None for no limit: workers without news are left out first
    marks:  the full and the empty part of a bar, one character each
    """
    head = [*_job(view, width), *_sums(view, width, marks)]
    output, said = ([line for each in texts for line in _wrapped(each, width)] for texts in _messages(view))
    rows = view.numbers["rows"] if view.numbers is not None else []
    if height is None:
        return [*head, *_table(rows, view, width), *_titled([*output, *said])]
    room = height - len(head)
    below = _titled(_latest(output, said, min(max(_MESSAGES, room - len(rows) - 4), room - 6)))
    return [*head, *_table(rows, view, width, room - len(below)), *below][:height]


def summary(view: View, width: int, marks: str = "#-") -> list[Text]:
    """Return the view's first part, for below a job's output: how it stands, and what all workers together do."""
    return [*_job(dataclasses.replace(view, trouble=""), width), *_sums(view, width, marks)]


def _job(view: View, width: int | None) -> list[Text]:
    """Return how the job stands."""
    text = Text(f"{view.title}: ", "bold").append(view.state, _STATES.get(view.state, "not bold"))
    if width is not None and text.cell_len + cell_len(view.standing) > width:
        found = [*_wrapped(text, width), *_wrapped(Text(view.standing.lstrip(",; ")), width)]
    else:
        found = [text.append(view.standing, "not bold")]
    return found + (_wrapped(Text(view.trouble, "bold red"), width) if view.trouble else [])


def _sums(view: View, width: int | None, marks: str) -> list[Text]:
    """Return what all workers together do, in a line for each kind of number."""
    numbers = view.numbers
    if numbers is None:
        return [] if view.workers is None else [Text(f"workers  {view.workers} of {view.expected} up")]
    workers = [row for row in numbers["rows"] if row["worker"]]
    spilled = _sum(workers, "spill")
    memory = _gauge(_sum(workers, "memory"), _sum(workers, "memory_limit"), format_bytes, marks)
    if spilled:
        memory.append(f", {format_bytes(spilled)} spilled")
    parts = {
        "workers": _states(workers, view.expected),
        "tasks": Text(numbers["task_summary"]),
        "cpu": _gauge(_sum(workers, "cpu"), 100 * _sum(workers, "threads"), _percent, marks),
        "memory": memory,
    }
    return [line for label, text in parts.items() for line in _wrapped(Text(f"{label:<9}").append_text(text), width)]


def _sum(rows: Sequence[Mapping[str, Any]], field: str) -> int:
    return sum(int(row[field] or 0) for row in rows)


def _percent(value: float) -> str:
    return f"{value:.0f} %"


def _states(workers: Sequence[Mapping[str, Any]], expected: int | None) -> Text:
    """Return how many workers are in which state."""
    states = Counter(row["state"] for row in workers)
    text = Text(f"{len(workers)}" if expected in (None, len(workers)) else f"{len(workers)} ({expected} expected)")
    for number, (state, count) in enumerate(states.most_common()):
        text.append(": " if number == 0 else ", ").append(f"{count} {state}", _STATES.get(state, "dim"))
    restarts = _sum(workers, "restarts")
    if restarts:
        text.append(", ").append(f"{restarts} restart{'s' * (restarts > 1)}", "bold red")
    return text


def _gauge(used: float, limit: float, words: Callable[[Any], str], marks: str) -> Text:
    """Return a bar and what it means; the words alone without a limit."""
    if not limit:
        return Text(words(used))
    share = min(1.0, used / limit)
    full = round(_BAR * share)
    text = Text("[").append(marks[0] * full, _level(share, "yellow") or "cyan").append(marks[1] * (_BAR - full), "dim")
    return text.append(f"] {words(used)} of {words(limit)} ({used / limit:.0%})")


def _level(share: float, high: str = _CAUTION) -> str:
    """Return the style of a share of a limit; high: that of a share which is high."""
    return "bold red" if share > _FULL else high if share > _HIGH else ""


# The table.

Cell = tuple[str, str]  # text, style
_LEFT = {"node", "role", "worker", "state"}  # all else is put to the right
#: Columns, from left to right; that of the place has the place's name.
_COLUMNS = (
    "place",
    "node",
    "worker",
    "state",
    "cpu",
    "memory",
    "running",
    "queued",
    "idle",
    "spill",
    "uptime",
    "restarts",
)
#: Those that are left out where a line is too long, the first one first.
_DISPENSABLE = ("uptime", "idle", "spill", "node", "queued", "restarts", "worker", "running")


def _table(rows: Sequence[Mapping[str, Any]], view: View, width: int | None, height: int | None = None) -> list[Text]:
    """Return an empty line, the header and a line for each row; those with news first if there is no room for all."""
    if not rows or view.numbers is None or (height is not None and height < 4):
        return []
    shown = list(rows)
    if height is not None and len(rows) > height - 2:
        shown = sorted(rows, key=_without_news)[: height - 3]
    cells = {name: [_header(name, view), *(_cell(name, row) for row in shown)] for name in _COLUMNS}
    wide = {name: max(cell_len(text) for text, _ in column) for name, column in cells.items()}
    for name in _DISPENSABLE:
        if width is not None and sum(wide.values()) + len(_GAP) * (len(wide) - 1) > width:
            del wide[name]
    found = [Text(), *(_line(cells, wide, index, width) for index in range(len(shown) + 1))]
    left = len(rows) - len(shown)
    if left:
        states = Counter(row["state"] for row in sorted(rows, key=_without_news)[len(shown) :])
        text = ", ".join(f"{count} {state}" for state, count in states.most_common())
        found.append(Text(f"and {left} more: {text}", "dim"))
    return found


def _without_news(row: Mapping[str, Any]) -> tuple[bool, bool]:
    return row["state"] == "running", not row["restarts"]


def _line(cells: Mapping[str, Sequence[Cell]], wide: Mapping[str, int], index: int, width: int | None) -> Text:
    text = Text()
    for number, (name, size) in enumerate(wide.items()):
        word, style = cells[name][index]
        filled = set_cell_size(word, size) if name in _LEFT else " " * (size - cell_len(word)) + word
        text.append(_GAP * (number > 0)).append(filled, style)
    text.rstrip()
    if width is not None:
        text.truncate(width)
    return text


def _header(name: str, view: View) -> Cell:
    place = str(view.numbers["place"]) if view.numbers is not None else ""
    return (place if name == "place" else name).upper(), "bold"


def _cell(name: str, row: Mapping[str, Any]) -> Cell:
    """Return what stands in a row's column."""
    value = row[name]
    if name == "state":
        return value, _STATES.get(value, "dim")
    if name == "restarts":
        return str(value) if row["worker"] else "", "bold red" if value else ""
    if value is None:
        return "", ""
    if name == "memory":
        limit = row["memory_limit"]
        return _memory(value, limit), _level(value / limit) if limit else ""
    if name == "running":
        return f"{value}/{row['threads']}", ""
    return _WORDS.get(name, str)(value), ""


_WORDS: Mapping[str, Callable[[Any], str]] = {
    "cpu": _percent,
    "idle": lambda value: f"{value:.0%}",
    "spill": format_bytes,
    "uptime": lambda value: str(timedelta(seconds=int(value))),
}


def _memory(used: int, limit: int | None) -> str:
    return format_bytes(used) + (f" {used / limit:>4.0%}" if limit else "")


# The messages.


def _messages(view: View) -> tuple[list[Text], list[Text]]:
    """Return the last lines of the job, without what would move the cursor, and the last messages about workers."""
    rows = view.numbers["rows"] if view.numbers is not None else ()
    said = [Text.assemble((f"{_who(row, view)}:", "bold"), f" {row['message']}") for row in rows if row["message"]]
    output = [Text(_plain(line)) for line in view.output]
    for text in output:
        text.highlight_regex("^mpidask:", "bold")
    return output, said


def _latest(output: Sequence[Text], said: Sequence[Text], room: int) -> list[Text]:
    """Return so many lines: those about workers last, and if there are more than that, two of the output."""
    if room < 1:
        return []
    spared = min(len(output), 2 if room > 2 else 0)
    kept = said[-(room - spared) :]
    return [*output[len(output) - min(len(output), room - len(kept)) :], *kept]


def _who(row: Mapping[str, Any], view: View) -> str:
    place = view.numbers["place"] if view.numbers is not None else ""
    return f"worker {row['worker']}" if row["worker"] else f"{place} {row['place']}"


def _plain(line: str) -> str:
    return "".join(each if each.isprintable() else " " for each in line.expandtabs()).rstrip()


def _titled(messages: Sequence[Text]) -> list[Text]:
    return [Text(), Text("latest messages", "bold"), *messages] if messages else []


def _wrapped(text: Text, width: int | None) -> list[Text]:
    """Return a text in lines of a width, all of it."""
    if width is None or text.cell_len <= width:
        return [text]
    from rich.console import Console

    console = Console(width=width, color_system=None)
    return list(text.wrap(console, width))
