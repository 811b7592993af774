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
import threading
import time
import tty
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import click

from mpidask.cli import common
from mpidask.cli.help_page import CommandWithHelp
from mpidask.errors import BatchError, MpidaskError, StartupError, UsageError

if TYPE_CHECKING:
    from mpidask.attach.numbers import Endpoint
    from mpidask.batch.submission.handles import Handle
    from mpidask.dashboard.terminal import View

__all__ = ["COMMANDS"]

_TOP = """\
Watch a job: its state, the time left, workers, tasks, CPU, memory, spilled data, the latest messages.

Without JOB the newest running job is shown. Press q to quit; the job goes on. Where the output is not a terminal, one
snapshot is printed. On another node than the job's scheduler the view needs ssh to that node."""

_PERIOD = 1.0  # s between two looks
_QUIT = "qQ"


def _top(argv: Sequence[str]) -> int:
    given = common.read(_command(), argv)
    if given is None:
        return 0
    handle = common.find_jobs([given["job"]])[0] if given["job"] else _newest()
    if given["json"] or not (sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"):
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


class _Looks:
    """Looks at a job again and again.

    job:     how it stood last, as `mpidask.cli.table.row` has it
    view:    what was seen then
    endpoint: where the numbers were then, None if there are none
    ended:   whether the job has, for good
    failure: what went wrong with the last look, None for nothing
    """

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self.job: dict[str, Any]
        self.view: View
        self.endpoint: Endpoint | None = None
        self.ended = False
        self.failure: Exception | None = None
        self.look()

    def look(self, link: str | None = None) -> None:
        """Look; with a link to the numbers, read them, too. Raises BatchError for a batch system that is gone."""
        from mpidask.attach import numbers
        from mpidask.cli import table
        from mpidask.dashboard.terminal import View

        standing = self._handle.refresh()
        if standing.state.ended_badly:
            standing = self._handle.recheck()
        record = self._handle.record
        self.ended = standing.state.ended and standing.final and standing.id == record.id  # or it is submitted again
        job = self.job = table.row(record, standing)
        self.endpoint = None if job["workers"] is None else numbers.endpoint(record.progress)
        found: Mapping[str, Any] | None = None
        trouble = ""
        if link is not None and self.endpoint is not None:
            try:
                found = numbers.read(link)
            except StartupError as error:
                found, trouble = self.view.numbers, str(error)
        title = f"job {job['job'] or job['run']} ({job['name']}) on {job['system']}"
        of_it = title, job["state"], _standing(job), job["workers"], job["expected_workers"]
        self.view = View(*of_it, found, trouble, table.last_lines(record))


def _standing(job: Mapping[str, Any]) -> str:
    """Return what there is to say of a job besides its state."""
    from mpidask.cli import table

    times = [(job["elapsed"], "elapsed"), (job["time_left"], "left")]
    told = [f", {table.duration(seconds)} {words}" for seconds, words in times if seconds is not None]
    reason = table.why(job)
    return "".join(told) + (f"; {reason}" if reason else "")


def _snapshot(handle: Handle, *, as_json: bool) -> int:
    """Print how a job stands; raises StartupError or BatchError, afterwards, if it has no numbers."""
    from mpidask.attach import numbers

    looks, failure = _Looks(handle), None
    try:
        if looks.endpoint is None:
            _refuse(looks)
        with numbers.reached(looks.endpoint) as link:
            looks.look(link)
        if looks.view.numbers is None:
            _refuse(looks)
    except MpidaskError as error:
        failure = error
    if as_json:
        print(json.dumps({**looks.job, "numbers": looks.view.numbers, "messages": looks.view.output}, indent=2))
    else:
        from mpidask.dashboard.terminal import lines

        print("\n".join(line.plain for line in lines(looks.view, _columns(), marks=_marks())))
    if failure is not None:
        sys.stdout.flush()
        raise failure
    return 0


def _refuse(looks: _Looks) -> NoReturn:
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


def _marks() -> str:
    """Return what bars are made of."""
    try:
        "█░".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return "#-"
    return "█░"


# The live view.


def _watch(handle: Handle) -> int:
    """Show a job until it ends or q is pressed; return an exit status. Raises StartupError if it has ended already."""
    from mpidask.attach import numbers

    looks = _Looks(handle)
    if looks.ended:
        _refuse(looks)
    while not looks.ended:
        endpoint = looks.endpoint
        with numbers.reached(endpoint) if endpoint is not None else contextlib.nullcontext() as link:
            if _show(looks, endpoint, link):
                return 0
    job = looks.job
    status = "" if job["exit_status"] is None else f": exit status {job['exit_status']}"
    title = job["job"] or job["run"]
    sys.stderr.write(f"mpidask: job {title} has ended ({job['state']}){status}; `mpidask logs {title}`\n")
    return 0


def _show(looks: _Looks, endpoint: Endpoint | None, link: str | None) -> bool:
    """Show a job until it ends or its numbers are elsewhere; return whether the user wants to quit before."""
    from rich.console import Console, Group
    from rich.live import Live

    from mpidask.dashboard.terminal import lines

    console, marks = Console(highlight=False), _marks()
    with (
        _looking(looks, link) as news,
        _signals() as signalled,
        Live(console=console, screen=True, auto_refresh=False) as live,
        _keys() as keys,
    ):
        while not looks.ended and looks.endpoint == endpoint:
            if looks.failure is not None:
                raise looks.failure
            size = console.size
            # The last column stays free: some terminals begin a new line after it.
            found = lines(looks.view, size.width - 1, size.height - 1, marks)
            live.update(Group(*found), refresh=True)
            ready = select.select([*keys, news, signalled], [], [], _PERIOD)[0]
            for each in ready:
                read = os.read(each, 4096)
                if each in keys and (not read or any(key in read.decode(errors="replace") for key in _QUIT)):
                    return True
    return False


@contextlib.contextmanager
def _looking(looks: _Looks, link: str | None) -> Iterator[int]:
    """Look again and again beside the block; yield a descriptor from which something can be read after each look."""
    reader, writer = os.pipe()
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            begun = time.monotonic()
            try:
                looks.look(link)
            except BatchError:  # the batch system is silent: what is known stays
                pass
            except Exception as error:  # noqa: BLE001 - the view raises it
                looks.failure = error
            if stop.is_set():
                return
            os.write(writer, b"!")
            # A scheduler with much to do is asked less often.
            stop.wait(max(_PERIOD, 10 * (time.monotonic() - begun)))

    thread = threading.Thread(target=look, name="mpidask top", daemon=True)
    thread.start()
    try:
        yield reader
    finally:
        stop.set()
        thread.join(_PERIOD)  # one that waits for an answer ends with this process
        if not thread.is_alive():
            os.close(reader)
            os.close(writer)


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
