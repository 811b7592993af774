"""Pictures of a report, as SVG (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from mpidask.report.quantity import amount, duration
from mpidask.report.start import StartRow
from mpidask.report.timeline import Row

__all__ = ["bar", "legend", "memory", "start", "timeline"]

_WIDTH, _LEFT, _ROW = 1000, 130, 18
_HEIGHT = 220  # of the picture of memory
_LEAST = 0.004  # of a cell's height, below which nothing is drawn


def bar(shares: Sequence[tuple[str, str, float]]) -> str:
    """Return a bar that is divided; shares: class, text and share of each part."""
    parts, left = [], 0.0
    for name, text, share in shares:
        if share > 0:
            parts.append(_titled(_rectangle(name, _WIDTH * left, 0, _WIDTH * share, 36), text))
        left += share
    return _svg(36, "What the core-hours were there for", parts)


def legend(names: Sequence[tuple[str, str]]) -> str:
    """Return what the colours mean; names: class and text of each."""
    mark = '<svg viewBox="0 0 9 9"><rect class="{}" width="9" height="9"/></svg>'
    items = [f"<li>{mark.format(name)}{escape(text)}</li>" for name, text in names]
    return f'<ul class="legend">{"".join(items)}</ul>'


def timeline(rows: Sequence[Row], classes: Mapping[str, str], wall: float, ends: float | None = None) -> str:
    """Return a line for each row: what it did when.

    classes: activity -> class of its colour
    ends:    s after the begin at which the walltime was to end
    """
    parts: list[str] = []
    for number, row in enumerate(rows):
        top = number * _ROW
        parts.append(_label(row.label, top))
        parts += _spans(row.there, top)
        parts += _cells(row, classes, top)
        parts += [_rectangle("lost", _x(when, 1.0) - 1, top, 2, _ROW) for when in row.deaths]
    bottom = len(rows) * _ROW
    if ends is not None and 0 < ends <= 1.02 * wall:
        x = _x(ends, wall)
        parts.append(f'<line class="limit" x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="{bottom}"/>')
    return _svg(bottom + 24, "What each worker did when", [*parts, *_axis(wall, bottom)])


def start(rows: Sequence[StartRow], names: Mapping[str, str]) -> str:
    """Return a line for each rank: what it did while the run started; names: phase -> what it is called."""
    length = max(row.end for row in rows)
    parts: list[str] = []
    for number, row in enumerate(rows):
        top = number * _ROW
        parts.append(_label(row.label, top))
        for phase, begin, end in row.spans:
            x = _x(begin, length)
            rectangle = _rectangle(f"start-{phase}", x, top + 2, _x(end, length) - x, _ROW - 4)
            parts.append(_titled(rectangle, f"{names[phase]}: {duration(end - begin)}"))
    bottom = len(rows) * _ROW
    return _svg(bottom + 24, "How the start went on each rank", [*parts, *_axis(length, bottom)])


def _label(text: str, top: float) -> str:
    return f'<text x="{_LEFT - 8}" y="{top + 13}" class="label">{escape(_short(text))}</text>'


def _titled(rectangle: str, text: str) -> str:
    return rectangle.replace("/>", f"><title>{escape(text)}</title></rect>")


def _spans(there: Sequence[float], top: float) -> Iterator[str]:
    """Yield what shows when a worker was there."""
    width = (_WIDTH - _LEFT) / len(there)
    begin: int | None = None
    for index, share in enumerate([*there, 0.0]):
        if share > 0 and begin is None:
            begin = index
        elif share <= 0 and begin is not None:
            yield _rectangle("there", _LEFT + begin * width, top + 2, (index - begin) * width, _ROW - 4)
            begin = None


def _cells(row: Row, classes: Mapping[str, str], top: float) -> Iterator[str]:
    width = (_WIDTH - _LEFT) / len(row.there)
    for index in range(len(row.there)):
        used = 0.0
        for activity, name in classes.items():
            share = min(1.0 - used, row.bins.get(activity, row.there)[index] if activity in row.bins else 0.0)
            if share > _LEAST:
                height = share * (_ROW - 4)
                bottom = top + _ROW - 2 - used * (_ROW - 4)
                yield _rectangle(name, _LEFT + index * width, bottom - height, width, height)
                used += share


def _axis(wall: float, top: float) -> Iterator[str]:
    for part in range(6):
        x = _LEFT + (_WIDTH - _LEFT) * part / 5
        anchor, text = "end" if part == 5 else "middle", duration(wall * part / 5) if part else "0"
        yield f'<line class="tick" x1="{x:.0f}" y1="{top}" x2="{x:.0f}" y2="{top + 4}"/>'
        yield f'<text class="axis" x="{x:.0f}" y="{top + 17}" text-anchor="{anchor}">{text}</text>'


def memory(series: Mapping[str, Sequence[tuple[float, int]]], limit: int, wall: float) -> str:
    """Return the memory of workers over time, with their limit, as far as it is near."""
    highest = max((size for points in series.values() for _, size in points), default=0)
    top = max(1.0, 1.1 * highest, float(limit) if limit and limit < 3 * highest else 0.0)
    parts = [f'<text class="label" x="{_LEFT - 8}" y="12">{amount(top)}</text>']
    parts.append(f'<text class="label" x="{_LEFT - 8}" y="{_HEIGHT}">0</text>')
    for name, points in series.items():
        line = " ".join(f"{_x(when, wall):.1f},{_HEIGHT * (1 - size / top):.1f}" for when, size in points)
        parts.append(f'<polyline class="memory" points="{line}"><title>{escape(name)}</title></polyline>')
    if limit and limit <= top:
        y = _HEIGHT * (1 - limit / top)
        parts.append(f'<line class="limit" x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH}" y2="{y:.1f}"/>')
        parts.append(f'<text class="axis" x="{_WIDTH}" y="{y + 12:.1f}" text-anchor="end">limit {amount(limit)}</text>')
    return _svg(_HEIGHT + 24, "Memory of each worker", [*parts, *_axis(wall, _HEIGHT)])


def _x(when: float, wall: float) -> float:
    return _LEFT + (_WIDTH - _LEFT) * min(1.0, when / wall)


def _rectangle(name: str, x: float, y: float, width: float, height: float) -> str:
    return f'<rect class="{name}" x="{x:.1f}" y="{y:.1f}" width="{width + 0.2:.1f}" height="{height:.1f}"/>'


def _svg(height: float, title: str, parts: Sequence[str]) -> str:
    head = f'<svg class="chart" viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}">'
    return f"{head}{''.join(parts)}</svg>"


def _short(label: str) -> str:
    return label if len(label) <= 20 else f"{label[:19]}…"
