"""`mpidask top`: a live view of a job on a terminal; elsewhere one snapshot."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import click

from mpidask.cli import common
from mpidask.cli.follow import Looks, can_be_live, looking, marks
from mpidask.cli.help_page import CommandWithHelp
from mpidask.errors import MpidaskError, StartupError, UsageError

if TYPE_CHECKING:
    from mpidask.attach.numbers import Endpoint, Read
    from mpidask.batch.submission.handles import Handle

__all__ = ["COMMANDS"]

_TOP = """\
Watch a job: its state, the time left, workers, tasks, CPU, memory, spilled data, the latest messages.

Without JOB the newest running job is shown. Press q to quit; the job goes on. Where the output is not a terminal, one
snapshot is printed. On another node than the job's scheduler the view comes by a step of the job, else by ssh."""

_PERIOD = 1.0  # s in which a view is drawn anew
_QUIT = "qQ"


def _top(argv: Sequence[str]) -> int:
    given = common.read(_command(), argv)
    if given is None:
        return 0
    handle = common.find_jobs([given["job"]])[0] if given["job"] else _newest()
    if given["json"] or not can_be_live(sys.stdout):
        return _snapshot(handle, as_json=given["json"])
    return _watch(handle)


def _newest() -> Handle:
    """Return the newest job that runs; raises UsageError if there is none."""
    from mpidask.batch.job_state import JobState

    live = common.live_jobs()
    for handle, standing in reversed(live):
        if standing.state is JobState.RUNNING:
            return handle
    if live:
        raise UsageError("no job is running", f"`mpidask top {live[-1][0].title}` waits for one that is pending")
    raise UsageError("no job is running", "`mpidask status --all` lists jobs; `mpidask submit script.py` submits one")


def _snapshot(handle: Handle, *, as_json: bool) -> int:
    """Print how a job stands; raises StartupError or BatchError, afterwards, if it has no numbers."""
    from mpidask.attach import numbers

    looks, failure = Looks(handle), None
    try:
        if looks.endpoint is None:
            _refuse(looks)
        with numbers.reached(handle, looks.endpoint) as read:
            looks.look(read)
        if looks.view.numbers is None:
            _refuse(looks)
    except MpidaskError as error:
        failure = error
    if as_json:
        print(json.dumps({**looks.job, "numbers": looks.view.numbers, "messages": looks.view.output}, indent=2))
    else:
        from mpidask.dashboard.terminal import lines

        print("\n".join(line.plain for line in lines(looks.view, _columns(), marks=marks())))
    if failure is not None:
        sys.stdout.flush()
        raise failure
    return 0


def _refuse(looks: Looks) -> NoReturn:
    """Raise StartupError: there are no numbers."""
    job, trouble = looks.job, looks.view.trouble
    title = job["job"] or job["run"]
    if job["state"] in ("done", "failed", "cancelled"):
        raise StartupError(f"job {title} has ended: {job['state']}", f"`mpidask logs {title}` prints its output")
    if job["state"] != "running":
        raise StartupError(f"job {title} is {job['state']}", f"`mpidask top {title}` on a terminal waits for its start")
    if trouble:
        raise StartupError(trouble, f"try again soon; `mpidask logs {title}` prints its output")
    raise StartupError(f"job {title} has no scheduler yet", f"try again soon; `mpidask logs {title}`")


def _columns() -> int | None:
    """Return how wide a line may be: no limit without a terminal, unless COLUMNS is set."""
    return shutil.get_terminal_size().columns if os.environ.get("COLUMNS", "").isdigit() else None


# The live view.


def _watch(handle: Handle) -> int:
    """Show a job until it ends or q is pressed; return an exit status. Raises StartupError if it has ended already."""
    from mpidask.attach import numbers

    looks = Looks(handle)
    if looks.ended:
        _refuse(looks)
    while not looks.ended:
        endpoint = looks.endpoint
        with numbers.reached(handle, endpoint) if endpoint is not None else contextlib.nullcontext() as read:
            if _show(looks, endpoint, read):
                return 0
    job = looks.job
    status = "" if job["exit_status"] is None else f": exit status {job['exit_status']}"
    title = job["job"] or job["run"]
    sys.stderr.write(f"mpidask: job {title} has ended ({job['state']}){status}; `mpidask logs {title}`\n")
    return 0


def _show(looks: Looks, endpoint: Endpoint | None, read: Read | None) -> bool:
    """Show a job until it ends or its numbers are elsewhere; return whether the user wants to quit before."""
    from rich.console import Console, Group
    from rich.live import Live

    from mpidask.dashboard.terminal import lines

    console, bars = Console(highlight=False), marks()  # before the view stands in for stdout
    with (
        looking(looks, read) as news,
        _signals() as signalled,
        Live(console=console, screen=True, auto_refresh=False) as live,
        _keys() as keys,
    ):
        while not looks.ended and looks.endpoint == endpoint:
            if looks.failure is not None:
                raise looks.failure
            size = console.size
            # The last column stays free: some terminals begin a new line after it.
            found = lines(looks.view, size.width - 1, size.height - 1, bars)
            live.update(Group(*found), refresh=True)
            ready = select.select([*keys, news, signalled], [], [], _PERIOD)[0]
            for each in ready:
                new = os.read(each, 4096)
                if each in keys and (not new or any(key in new.decode(errors="replace") for key in _QUIT)):
                    return True
    return False


@contextlib.contextmanager
def _signals() -> Iterator[int]:
    """Yield a descriptor from which something can be read after a signal, such as that of another terminal size.

    SIGTERM ends the view in a way that restores the terminal. Ctrl-Z would leave it as it is, and does nothing.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    handlers: dict[int, Any] = {
        signal.SIGWINCH: lambda *_: None,
        signal.SIGTERM: lambda *_: sys.exit(128 + signal.SIGTERM),
        signal.SIGTSTP: signal.SIG_IGN,
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield reader
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        os.close(reader)
        os.close(writer)


@contextlib.contextmanager
def _keys() -> Iterator[list[int]]:
    """Have keys be read one by one, without echo; yield the descriptor to read them from, none without a terminal."""
    if not sys.stdin.isatty():
        yield []
        return
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)
    try:
        yield [terminal]
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _command() -> click.Command:
    as_json = click.Option(["--json"], is_flag=True, help="Print one snapshot as a JSON object, for programs.")
    examples = ["mpidask top 4711", "mpidask top --json"]
    return CommandWithHelp("top", _TOP, [common.job_argument(), as_json], arguments="[JOB]", examples=examples)


COMMANDS = {"top": (_command, _top)}
