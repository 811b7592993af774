"""What happens where a private name is not there any more."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

__all__ = ["not_possible", "tolerated"]

logger = logging.getLogger("mpidask.compat")


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
    logger.debug("%s: not possible with this version (%s)", what, why)
