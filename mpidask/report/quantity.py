"""Amounts of bytes, times and shares, as people read them (pure)."""

from __future__ import annotations

__all__ = ["amount", "duration", "percent"]


def amount(size: float) -> str:
    """Return a number of bytes, such as 1.5 GiB."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("unreachable")


def duration(seconds: float) -> str:
    """Return a time, such as 4.2 ms, 12.3 s or 1:02:03."""
    if seconds < 0.9995:  # what rounds to less than 1000 ms
        return f"{1000 * seconds:.3g} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def percent(share: float) -> str:
    """Return a share, such as 12 %."""
    return "<1 %" if 0 < share < 0.01 else f"{100 * share:.0f} %"
