"""Warnings at the line of the user's program, each once for a cluster."""

from __future__ import annotations

import contextlib
import contextvars
import inspect
import warnings
from collections.abc import Iterator

from mpidask.errors import linked

__all__ = ["once", "warn"]

#: What a cluster has warned of already, while it makes a job.
_said: contextvars.ContextVar[set[str] | None] = contextvars.ContextVar("said", default=None)


@contextlib.contextmanager
def once(said: set[str]) -> Iterator[None]:
    """Give each warning once: `said` holds those that have been given."""
    token = _said.set(said)
    try:
        yield
    finally:
        _said.reset(token)


def warn(text: str, category: type[Warning], *, key: str) -> None:
    """Warn at the line of the user's program: the innermost one that is neither ours nor Dask's."""
    said = _said.get()
    if said is not None:
        if text in said:
            return
        said.add(text)
    frame, level = inspect.currentframe(), 1
    while frame is not None and _is_library(frame.f_globals.get("__name__", "")):
        frame, level = frame.f_back, level + 1
    warnings.warn(linked(text, key), category, stacklevel=level)


def _is_library(module: str) -> bool:
    # skip_file_prefixes of warnings.warn does this from Python 3.12 on.
    return module.split(".", maxsplit=1)[0] in ("mpidask", "dask", "distributed")
