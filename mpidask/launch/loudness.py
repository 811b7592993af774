"""Which of Dask's log lines are no news."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import TextIO

__all__ = ["ignore_a_lost_scheduler", "point", "quieten", "speak_again", "tell_refusals", "unlogged"]

#: Loggers that are quiet, with the level that they had.
_quiet: dict[logging.Logger, int] = {}


def quieten() -> None:
    """Say nothing more of connections that break: from here on they are meant to."""
    for logger in [each for name in ("distributed", "tornado", "asyncio", "bokeh") for each in _family(name)]:
        _quiet.setdefault(logger, logger.level)
        logger.setLevel(logging.CRITICAL + 1)


def speak_again() -> None:
    """Undo `quieten`."""
    for logger, level in _quiet.items():
        logger.setLevel(level)
    _quiet.clear()


@contextlib.contextmanager
def unlogged(name: str) -> Iterator[None]:
    """Keep a logger quiet meanwhile."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


def ignore_a_lost_scheduler() -> None:
    """Have workers say nothing of a scheduler that is gone: it ends the run, and is told by others where it is news."""
    logging.getLogger("distributed.worker").addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith("Failed to communicate with scheduler during heartbeat")


def tell_refusals(number: int) -> None:
    """Have servers of this process tell at most so many connections without the right keys.

    A scan of the ports makes hundreds.
    """
    _refusals.left = max(_refusals.left, number)
    logging.getLogger("distributed.comm.tcp").addFilter(_refusals)


class _Refusals(logging.Filter):
    left = 0

    def filter(self, record: logging.LogRecord) -> bool:
        if "TLS handshake failed" not in str(record.msg):
            return True
        self.left -= 1
        if self.left == 0:
            record.msg = f"{record.msg}; further ones are not told"
        return self.left >= 0


_refusals = _Refusals()


def point(before: TextIO | None, after: TextIO | None) -> None:
    """Have what is logged to one stream go to another."""
    for logger in [logging.getLogger(), *map(logging.getLogger, list(logging.root.manager.loggerDict))]:
        for handler in logger.handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is before:
                handler.setStream(after)


def _family(name: str) -> list[logging.Logger]:
    """Return a logger and those below it."""
    known = list(logging.getLogger().manager.loggerDict.items())  # other threads import, and add to it
    below = [each for key, each in known if key.startswith(name + ".") and isinstance(each, logging.Logger)]
    return [logging.getLogger(name), *below]
