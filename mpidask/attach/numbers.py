"""The numbers of a job that runs, from the pages beside its scheduler."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

from mpidask.attach import tunnel
from mpidask.batch.submission.handles import Handle
from mpidask.dashboard import links
from mpidask.errors import BatchError, StartupError
from mpidask.run_directory import Progress

__all__ = ["Endpoint", "Read", "endpoint", "reached", "read"]

_ANSWERS = 10.0  # s for a scheduler that has much to do

Endpoint = tuple[str, str]  # the scheduler's node, and a link on its loopback
Read = Callable[[], dict[str, Any]]  # returns the numbers; raises StartupError if nobody answers with them


def endpoint(progress: Progress | None) -> Endpoint | None:
    """Return where the numbers are, None if the run has not said so yet."""
    if progress is None or progress.host is None or progress.pages is None:
        return None
    return progress.host, progress.pages + links.NUMBERS


@contextlib.contextmanager
def reached(handle: Handle, where: Endpoint, *, asks: bool = True) -> Iterator[Read]:
    """Yield what reads the numbers; elsewhere than on their node by a tunnel, while the block lasts.

    asks: wait for the tunnel; ssh may ask for a password. Else there are no numbers before it stands, if it ever does
    Raises BatchError if it asks and there can be no tunnel.
    """
    host, link = where
    if host == socket.gethostname():
        yield lambda: read(link)
    elif asks:
        with tunnel.opened(handle, host, link) as opened:
            yield lambda: read(opened.link)
    else:
        with contextlib.ExitStack() as stack:
            yield _by_tunnel(stack, handle, host, link)


def _by_tunnel(stack: contextlib.ExitStack, handle: Handle, host: str, link: str) -> Read:
    """Return what reads the numbers as soon as there is a tunnel, which the stack holds."""
    near: Callable[[], str | None] | None = None
    with contextlib.suppress(BatchError):  # there is no ssh
        near = stack.enter_context(tunnel.attempted(handle, host, link))

    def look() -> dict[str, Any]:
        found = near() if near else None
        if found is None:
            raise _silent(f"there is no tunnel to {host}")
        return read(found)

    return look


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
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)  # without the link, which is a secret
        raise _silent(str(getattr(reason, "strerror", None) or reason)) from None


def _silent(why: str) -> StartupError:
    return StartupError(f"no numbers from the scheduler: {why}", "try again soon: it may be busy, or ending")
