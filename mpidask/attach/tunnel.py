"""The way to the dashboard of a job, which listens on the loopback of its node."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from mpidask.batch.commands import runner
from mpidask.batch.job_state import JobState
from mpidask.batch.submission.handles import Handle
from mpidask.dashboard import links
from mpidask.errors import BatchError, StartupError
from mpidask.status_line import PATIENCE, StatusLine

__all__ = ["attempted", "opened", "show"]

_OPENS = 30.0  # s for ssh to connect; it may ask for a password
_GLANCE = 0.2  # s between two looks whether the tunnel stands
_JOB = 2.0  # s between two looks whether the job still runs
_LOOPBACK = "127.0.0.1"


def show(handle: Handle, port: int | None) -> int:
    """Print where the dashboard of a job is, and keep a tunnel to it open while the job runs; return an exit status.

    port: on this machine; None: the dashboard's own if it is free here
    Raises StartupError if there is no dashboard, BatchError if no tunnel can be made.
    """
    host, link = _place(handle)
    if host == socket.gethostname():
        _tell(link)
        return 0
    return _hold(handle, host, link, port)


def _place(handle: Handle) -> tuple[str, str]:
    """Return the scheduler's node and the dashboard's link."""
    standing = handle.refresh()
    if standing.state.ended_badly:
        standing = handle.recheck()
    if standing.state is not JobState.RUNNING:
        reason = f": {standing.reason}" if standing.reason else ""
        raise StartupError(
            f"job {handle.id} is {standing.state.value}{reason}", "there is a dashboard while a job runs"
        )
    progress = handle.record.progress
    if progress is None or progress.host is None:
        raise StartupError(f"job {handle.id} has no scheduler yet", f"try again soon; `mpidask logs {handle.id}`")
    if progress.dashboard is None:
        raise StartupError(
            f"job {handle.id} has no dashboard",
            "bokeh is not installed there (python -m pip install bokeh), or --no-dashboard was given",
        )
    return progress.host, progress.dashboard


def _hold(handle: Handle, host: str, link: str, port: int | None) -> int:
    """Hold a tunnel open until the job ends or Ctrl-C."""
    with opened(host, link, port) as (near, status):
        _tell(near)
        sys.stderr.write("mpidask: Ctrl-C ends the tunnel\n")
        try:
            while status() is None and not handle.state.ended:
                time.sleep(_JOB)
        except KeyboardInterrupt:
            sys.stderr.write("\n")
            return 0
        if handle.state.ended:
            sys.stderr.write(f"mpidask: job {handle.id} has ended\n")
            return 0
        raise BatchError(f"ssh to {host} has ended with status {status()}", "its own words are above")


@contextlib.contextmanager
def opened(host: str, link: str, port: int | None = None) -> Iterator[tuple[str, Callable[[], int | None]]]:
    """Hold a tunnel to a link of a node's loopback open for as long as the block lasts.

    port: on this machine; None: the link's own if it is free here
    Yields the link on this machine, and what tells the tunnel's exit status, None while it stands. Raises BatchError if
    there can be none.
    """
    near, argv = _forwards(host, link, port)
    with runner.alongside(["ssh", *argv]) as status:
        _await_open(near, status, host)
        yield _moved(link, near), status


@contextlib.contextmanager
def attempted(host: str, link: str) -> Iterator[Callable[[], str | None]]:
    """Hold a tunnel like `opened` if ssh needs to ask nobody for anything. Neither waits nor says a word.

    Yields what returns the link on this machine while the tunnel stands, None before and after. Raises BatchError if
    ssh does not start.
    """
    near, argv = _forwards(host, link)
    with runner.alongside(["ssh", "-n", "-q", "-o", "BatchMode=yes", *argv]) as status:
        yield lambda: _moved(link, near) if _is_open(near) and status() is None else None


def _forwards(host: str, link: str, port: int | None = None) -> tuple[int, list[str]]:
    """Return the port on this machine, and ssh's words for a tunnel from it to a link of a node's loopback."""
    far = urlsplit(link)
    near = _free(port, far.port or 0)
    words = ["-N", "-o", "ExitOnForwardFailure=yes", "-L", f"{_LOOPBACK}:{near}:{far.hostname}:{far.port}", host]
    return near, words


def _moved(link: str, port: int) -> str:
    return urlsplit(link)._replace(netloc=f"{_LOOPBACK}:{port}").geturl()


def _is_open(port: int) -> bool:
    try:
        socket.create_connection((_LOOPBACK, port), _GLANCE).close()
    except OSError:
        return False
    return True


def _await_open(port: int, status: Callable[[], int | None], host: str) -> None:
    """Wait until the tunnel takes connections; raises BatchError if it never will."""
    deadline = time.monotonic() + _OPENS
    line = StatusLine(after=PATIENCE)
    try:
        while status() is None and time.monotonic() < deadline:
            if _is_open(port):
                return
            line.show(f"waiting for ssh to connect to {host}")
            time.sleep(_GLANCE)
    finally:
        line.clear()
    how = f"did not connect within {_OPENS:g} s" if status() is None else f"ended with status {status()}"
    raise BatchError(
        f"there is no tunnel: ssh to {host} {how}",
        f"its own words are above; try `ssh {host}`: it may need a key, or a job of yours there",
    )


def _free(wanted: int | None, like: int) -> int:
    """Return a port that is free on this machine's loopback; raises StartupError if the wanted one is not."""
    for port in [like, 0] if wanted is None else [wanted]:
        try:
            with socket.create_server((_LOOPBACK, port)) as server:
                return int(server.getsockname()[1])
        except OSError as error:
            if wanted is not None:
                raise StartupError(f"port {port} cannot be used here: {error.strerror}", "choose another one") from None
    raise AssertionError("unreachable")


def _tell(link: str) -> None:
    """Say how to get there, from here and from elsewhere."""
    print(link, flush=True)
    for _, way in links.ways(link, socket.gethostname(), os.environ):
        sys.stderr.write(f"mpidask: {way}\n")
