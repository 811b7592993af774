"""The numbers of a job that runs, from the pages beside its scheduler."""

from __future__ import annotations

import contextlib
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

from mpidask.attach import tunnel
from mpidask.dashboard import links
from mpidask.errors import StartupError
from mpidask.run_directory import Progress

__all__ = ["Endpoint", "endpoint", "reached", "read"]

_ANSWERS = 10.0  # s for a scheduler that has much to do

Endpoint = tuple[str, str]  # the scheduler's node, and a link on its loopback


def endpoint(progress: Progress | None) -> Endpoint | None:
    """Return where the numbers are, None if the run has not said so yet."""
    if progress is None or progress.host is None or progress.pages is None:
        return None
    return progress.host, progress.pages + links.NUMBERS


@contextlib.contextmanager
def reached(where: Endpoint) -> Iterator[str]:
    """Yield the link to the numbers on this machine; elsewhere than on their node by a tunnel, while the block lasts.

    Raises BatchError if there can be no tunnel.
    """
    host, link = where
    if host == socket.gethostname():
        yield link
        return
    with tunnel.opened(host, link) as (near, _):
        yield near


def read(link: str) -> dict[str, Any]:
    """Return the numbers; raises StartupError if nobody answers with them."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # nobody else learns the secret
    try:
        with opener.open(link, timeout=_ANSWERS) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except urllib.error.HTTPError as error:
        error.close()
        raise _silent(f"it answers with HTTP status {error.code}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)  # without the link, which is a secret
        raise _silent(str(getattr(reason, "strerror", None) or reason)) from None


def _silent(why: str) -> StartupError:
    return StartupError(f"no numbers from the scheduler: {why}", "try again soon: it may be busy, or ending")
