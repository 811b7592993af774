"""The way to a job's dashboard, on the loopback of its node: by a step of the job, else by ssh."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

from mpidask.attach import relay
from mpidask.batch import registry
from mpidask.batch.commands import runner
from mpidask.batch.commands.command import Command
from mpidask.batch.job_state import JobState
from mpidask.batch.queries import questions
from mpidask.batch.submission.handles import Handle
from mpidask.dashboard import links
from mpidask.errors import BatchError, StartupError
from mpidask.status_line import PATIENCE, StatusLine

__all__ = ["Tunnel", "attempted", "opened", "show"]

_STEP = 40.0  # s for a step of the job to start: Slurm waits for ever where it gives none
_OPENS = 30.0  # s for ssh to connect; it may ask for a password
_GLANCE = 0.2  # s between two looks whether the tunnel stands
_JOB = 2.0  # s between two looks whether the job still runs
_FOLLOWS = 15.0  # s in which a job ends whose tunnel has ended
_LOOPBACK = "127.0.0.1"


class Tunnel(NamedTuple):
    """A tunnel that is open.

    link:   where what it leads to is on this machine
    way:    what it goes through, in words
    status: tells its exit status, None while it stands
    """

    link: str
    way: str
    status: Callable[[], int | None]


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
    with opened(handle, host, link, port) as tunnel:
        _tell(tunnel.link)
        sys.stderr.write(f"mpidask: the tunnel goes through {tunnel.way}; Ctrl-C ends it\n")
        try:
            while tunnel.status() is None:
                if handle.state.ended and handle.recheck().state.ended:  # it may have been given up for a moment only
                    break
                time.sleep(_JOB)
        except KeyboardInterrupt:
            sys.stderr.write("\n")
            return 0
        if _has_ended(handle):
            sys.stderr.write(f"mpidask: job {handle.id} has ended\n")
            return 0
        raise BatchError(f"{tunnel.way} has ended with status {tunnel.status()}", "its own words are above")


def _has_ended(handle: Handle) -> bool:
    """Whether the job has ended, or does so soon: its steps, and the tunnel, end before it."""
    deadline = time.monotonic() + _FOLLOWS
    while not handle.state.ended and time.monotonic() < deadline:
        time.sleep(_JOB)
    return handle.state.ended


@contextlib.contextmanager
def opened(handle: Handle, host: str, link: str, port: int | None = None) -> Iterator[Tunnel]:
    """Hold a tunnel to a link of a node's loopback open for as long as the block lasts.

    handle: the job that has the node
    port:   on this machine; None: the link's own if it is free here
    Raises BatchError if there can be none.
    """
    near = _free(port, urlsplit(link).port or 0)
    with contextlib.ExitStack() as stack:
        way, status = _by_step(stack, handle, host, near, link) or _by_ssh(stack, host, near, link)
        yield Tunnel(_moved(link, near), way, status)


_Way = tuple[str, Callable[[], int | None]]  # in words, and what tells its exit status


def _by_step(stack: contextlib.ExitStack, handle: Handle, host: str, near: int, link: str) -> _Way | None:
    """Open the tunnel by a step of the job; None where the batch system has none, or gives none."""
    command = _step(handle, host, link)
    if command is None:
        return None
    way = f"{command.program} in job {handle.id}"
    try:
        return way, stack.enter_context(relay.opened(command, near, timeout=_STEP, what=way))
    except BatchError as error:
        sys.stderr.write(f"mpidask: {error.what}; ssh to {host} is tried\n")
        return None


def _step(handle: Handle, host: str, link: str) -> Command | None:
    """Return what is run beside the scheduler to get to a link there; None where there is no such command."""
    record, progress = handle.record, handle.record.progress
    nodes = progress.nodes if progress is not None else []
    far = urlsplit(link)
    program = [sys.executable, "-m", relay.__name__, str(far.hostname), str(far.port)]
    command = questions.step_command(registry.find(record.system), record.identity, host, nodes, program)
    return command if command is not None and runner.installed(command.program) else None


def _by_ssh(stack: contextlib.ExitStack, host: str, near: int, link: str) -> _Way:
    """Open the tunnel by ssh; raises BatchError if that fails."""
    status = stack.enter_context(runner.alongside(["ssh", *_forwards(host, near, link)]))
    _await_open(near, status, host)
    return f"ssh to {host}", status


@contextlib.contextmanager
def attempted(handle: Handle, host: str, link: str) -> Iterator[Callable[[], str | None]]:
    """Hold a tunnel like `opened`, by ssh only if it asks nobody for anything. Neither waits nor says a word.

    Yields what returns the link on this machine while the tunnel stands, None before and after. Raises BatchError if
    the command does not start.
    """
    near = _free(None, urlsplit(link).port or 0)
    step = _step(handle, host, link)
    if step is not None:
        with relay.started(step, near, quiet=True) as (is_ready, status):
            yield lambda: _moved(link, near) if is_ready() and status() is None else None
        return
    with runner.alongside(["ssh", "-n", "-q", "-o", "BatchMode=yes", *_forwards(host, near, link)]) as status:
        yield lambda: _moved(link, near) if _is_open(near) and status() is None else None


def _forwards(host: str, near: int, link: str) -> list[str]:
    """Return ssh's words for a tunnel from a port on this machine to a link of a node's loopback."""
    far = urlsplit(link)
    return ["-N", "-o", "ExitOnForwardFailure=yes", "-L", f"{_LOOPBACK}:{near}:{far.hostname}:{far.port}", host]


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
