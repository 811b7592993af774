"""Which of Dask's log lines are no news."""

from __future__ import annotations

import contextlib
import logging
import ssl
from collections.abc import Iterator
from typing import TextIO

__all__ = ["ignore_lost_peers", "limit_refusals", "point", "restore", "silence", "unlogged"]

#: Loggers that are quiet, with the level that they had.
_quiet: dict[logging.Logger, int] = {}


def silence() -> None:
    """Say nothing more of connections that break: from here on they are meant to."""
    for logger in [each for name in ("distributed", "tornado", "asyncio", "bokeh") for each in _family(name)]:
        _quiet.setdefault(logger, logger.level)
        logger.setLevel(logging.CRITICAL + 1)


def restore() -> None:
    """Undo `silence`."""
    for logger, level in _quiet.items():
        logger.setLevel(level)
    _quiet.clear()


@contextlib.contextmanager
def unlogged(name: str) -> Iterator[None]:
    """Keep a logger quiet meanwhile, and for good if that fails: what was begun beside it may fail later."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    yield
    logger.setLevel(level)


#: How lines begin that say what is told by others, where it is news: that a scheduler or a worker is gone.
_NO_NEWS = (
    "Failed to communicate with scheduler during heartbeat",
    "Received heartbeat from unregistered worker",
    "Scheduler was unaware of this worker",
    "Failed to log closing event",  # of a worker that has not started: why, its nanny is told
)


def ignore_lost_peers() -> None:
    """Have servers of this process say nothing of what a worker and a scheduler that is gone for it could not say."""
    for name in ("distributed.worker", "distributed.scheduler"):
        logging.getLogger(name).addFilter(_is_news)
    logging.getLogger("tornado.application").addFilter(_is_in_time)


def _is_news(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(_NO_NEWS)


def _is_in_time(record: logging.LogRecord) -> bool:
    """Whether it is no connection whose TLS handshake ended after the server that it was for."""
    error = record.exc_info[1] if record.exc_info else None
    return not (isinstance(error, ValueError) and "non-started TCPListener" in str(error))


def limit_refusals(number: int) -> None:
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
        error = record.args[-1] if isinstance(record.args, tuple) and record.args else None
        if not isinstance(error, ssl.SSLError) or isinstance(error, ssl.SSLEOFError):
            return False  # the other end has gone: a process that has ended, or a look whether somebody listens
        self.left -= 1
        if self.left == 0:
            record.msg = f"{record.msg}; further ones are not reported"
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
    known = logging.getLogger().manager.loggerDict.copy().items()  # a copy: other threads may be importing
    below = [each for key, each in known if key.startswith(name + ".") and isinstance(each, logging.Logger)]
    return [logging.getLogger(name), *below]
