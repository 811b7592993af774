"""What happens where a private name is not there any more."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

__all__ = ["not_possible", "report_missing", "tolerated"]


@contextlib.contextmanager
def tolerated(what: str) -> Iterator[None]:
    """Go on where a name of another library's is missing or has changed its kind; a debug line says so.

    what: what mpidask does without then
    """
    try:
        yield
    except (AttributeError, KeyError, TypeError) as error:
        not_possible(what, error)


def not_possible(what: str, why: object) -> None:
    """Log that mpidask does without something, in one debug line."""
    import logging  # not at the top: ranks that only wait do without

    logging.getLogger("mpidask.compat").debug("%s: not possible with this version (%s)", what, why)


def report_missing(kind: type, names: Mapping[str, str]) -> None:
    """Log which private names a class of another library does not have any more: what ours has by them is not called.

    names: name -> what mpidask does without where it is gone
    """
    for name, what in names.items():
        if not hasattr(kind, name):
            not_possible(what, f"{kind.__name__}.{name} is gone")
