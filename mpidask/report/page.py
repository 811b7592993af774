"""A report as one page of HTML that needs nothing else (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from html import escape
from importlib import resources
from typing import Any

from mpidask.errors import WalltimeError
from mpidask.report import charts, start, timeline
from mpidask.report.advice import advise
from mpidask.report.quantity import amount, duration, percent
from mpidask.report.record import Record
from mpidask.report.summary import NAMES, PARTS, Summary, summarize

__all__ = ["page"]

_COLOURS = 7  # of kinds, the last one for all others
_LINES = 64  # of memory, which could be told apart


def page(
    record: Record,
    ended: str | None = None,
    accounted: Sequence[tuple[str, str, str]] = (),
    *,
    goes_on: bool | None = None,
) -> str:
    """Return the page.

    ended:     how the run ended, where the batch system knows more than the record
    goes_on:   whether the run does; None if that is not known
    accounted: name, the batch system's figure and ours
    """
    run = summarize(record)
    title = " ".join(record.run.get("program") or ["cluster"])
    style = resources.files("mpidask.report").joinpath("page.css").read_text(encoding="utf-8")
    endings = list(_endings(run, ended, goes_on=goes_on))
    body = "\n".join([*_head(record, run, title, endings), *_sections(record, run, accounted)])
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}: report</title><style>{style}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _head(record: Record, run: Summary, title: str, endings: Sequence[str]) -> Iterator[str]:
    began = datetime.fromtimestamp(record.began).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
    job = f"job {record.run['job']}, " if record.run.get("job") else ""
    nodes = record.run.get("nodes", ())
    yield f"<h1>{escape(title)}</h1>"
    yield (
        f'<p class="faint">{escape(job)}{began}, {len(record.run.get("ranks", ()))} ranks on {len(nodes)} '
        f"node{'s' * (len(nodes) != 1)} ({escape(', '.join(nodes[:8]))}{', …' * (len(nodes) > 8)}), "
        f"{run.workers} workers with {run.threads} threads</p>"
    )
    for words in endings:
        yield f'<p class="ended">{escape(words)}</p>'
    advice = advise(run)
    if advice is not None:
        yield f'<p class="advice"><b>Advice:</b> {escape(advice)}.</p>'
    figures = "".join(f"<div><b>{escape(value)}</b>{escape(name)}</div>" for name, value in _figures(run))
    yield f'<div class="figures">{figures}</div>'


def _endings(run: Summary, ended: str | None, *, goes_on: bool | None) -> Iterator[str]:
    """Yield what is to be said of an end that was not in order, or is still to come."""
    if not run.complete and goes_on:
        yield "The run has not ended. What follows is known up to now."
    elif not run.complete and goes_on is None and not ended:
        yield "The record has no end: the run goes on, or was killed. What follows was known until then."
    elif not run.complete:
        yield f"The run was killed: {ended or 'its record has no end'}. What follows was known until then."
    elif run.status == WalltimeError.status:
        yield f"The walltime ended the run (status {run.status})."
    elif run.status:
        yield f"The script ended with status {run.status}{f': {ended}' if ended else ''}."


def _figures(run: Summary) -> Iterator[tuple[str, str]]:
    yield "wall time", duration(run.wall)
    yield "core-hours", f"{run.capacity / 3600:.3g}"
    yield "useful", percent(run.share("useful"))
    yield "idle", percent(run.idle)
    if run.peak is not None:
        yield f"memory of {run.peak[0]}, the fullest worker", amount(run.peak[1])
    if run.memory is not None:
        yield "of its limit", percent(run.memory)
    yield "spilled", amount(run.spilled)
    yield "transferred", amount(run.received)
    yield "tasks", str(run.tasks)
    yield "restarts", str(run.restarts)


def _sections(record: Record, run: Summary, accounted: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    if run.capacity:
        shares = [(part, f"{NAMES[part]}: {percent(run.share(part))}", run.share(part)) for part in PARTS]
        rows = [(NAMES[part], percent(run.share(part)), f"{run.parts.get(part, 0) / 3600:.4f}") for part in PARTS]
        there = [(part, NAMES[part]) for part in PARTS if run.share(part) > 0.001]
        yield _section(
            "What the core-hours were there for",
            charts.bar(shares) + charts.legend(there) + _table(("", "#share", "#core-hours"), rows),
        )
    yield from _pictures(record, run)
    yield from _tasks(record)
    died = [(_at(record, each), each["name"], each["what"]) for each in record.events if each["kind"] == "died"]
    if died:
        yield _section("Workers that died", _table(("after", "worker", "why"), died))
    if accounted:
        heads = ("", "batch system", "this record")
        yield _section("What the batch system accounts", _table(heads, accounted))
    yield _section("Options that are not as by default", _options(record))
    yield _section("Environment", _table(("", ""), _environment(record.run)))


def _pictures(record: Record, run: Summary) -> Iterator[str]:
    ranks = start.rows(record)
    if ranks:
        seen = {phase for row in ranks for phase, _, _ in row.spans}
        names = [(f"start-{phase}", text) for phase, text in start.PHASES.items() if phase in seen]
        yield _section("The start, up to the last worker", charts.start(ranks, start.PHASES) + charts.legend(names))
    lines = timeline.rows(record)
    if not lines:
        return
    kinds = [f"kind {kind[0]}" for kind in record.totals.get("kinds", ())[: _COLOURS - 1]]
    kinds.append(f"kind {timeline.OTHER}")
    classes = {name: f"kind{index}" for index, name in enumerate(kinds[:-1])} | {kinds[-1]: f"kind{_COLOURS - 1}"}
    classes |= {"transfer": "transfer", "spill": "spill"}
    used = {name for row in lines for name in row.bins}
    ends = record.run["ends"] - record.began if record.run.get("ends") else None
    named = [(style, name.removeprefix("kind ")) for name, style in classes.items() if name in used]
    named = [(style, "spilling, (de)serialisation" if name == "spill" else name) for style, name in named]
    if any(row.deaths for row in lines):
        named.append(("lost", "a worker died"))
    yield _section("Timeline", charts.timeline(lines, classes, run.wall, ends) + charts.legend(named))
    fullest = sorted(timeline.memory(record).items(), key=lambda each: -max(size for _, size in each[1]))
    series = dict(fullest[:_LINES])
    if series:
        limit = min((each["limit"] for each in record.events if each.get("limit")), default=0)
        yield _section("Memory of each worker", charts.memory(series, limit, run.wall))


def _tasks(record: Record) -> Iterator[str]:
    kinds = [
        (name, duration(seconds), str(number), duration(seconds / number) if number else "", line or "")
        for name, seconds, number, line in record.totals.get("kinds", ())[:10]
    ]
    if kinds:
        heads = ("kind", "#in all", "#tasks", "#mean", "where most of the time went")
        yield _section("The heaviest kinds of tasks", _table(heads, kinds))
    longest = [
        (key, duration(seconds), worker, duration(max(0.0, began - record.began)))
        for seconds, key, worker, began in record.totals.get("longest", ())
    ]
    if longest:
        yield _section("The longest tasks", _table(("task", "#time", "worker", "#began after"), longest))


def _at(record: Record, event: Mapping[str, Any]) -> str:
    return duration(max(0.0, event["t"] - record.began))


def _options(record: Record) -> str:
    options = record.run.get("options", ())
    return _table(("option", "value", "from"), options) if options else "<p>none</p>"


def _environment(run: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "mpidask", str(run.get("mpidask"))
    yield from sorted(run.get("versions", {}).items())
    yield "interpreter", str(run.get("python"))
    yield "directory", str(run.get("directory"))
    yield "network", str(run.get("network"))
    yield "cores for the ranks", str(run.get("cores"))
    yield "nodes", ", ".join(run.get("nodes", ()))


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; columns whose head begins with # have numbers."""
    styles = [' class="number"' if head.startswith("#") else "" for head in heads]
    head = "".join(f"<th{style}>{escape(each.lstrip('#'))}</th>" for each, style in zip(heads, styles, strict=True))
    lines = (
        "".join(f"<td{style}>{escape(str(cell))}</td>" for cell, style in zip(row, styles, strict=True)) for row in rows
    )
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"
