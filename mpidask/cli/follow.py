"""Following a job: looks at it again and again, its output, and how it stands meanwhile."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpidask.batch.job_state import JobState
from mpidask.batch.status import Standing
from mpidask.batch.submission.handles import Handle
from mpidask.cli import table
from mpidask.errors import BatchError, LostError, StartupError
from mpidask.status_line import StatusLine

if TYPE_CHECKING:
    from rich.live import Live

    from mpidask.attach.numbers import Endpoint, Read
    from mpidask.dashboard.terminal import View

__all__ = ["Looks", "can_be_live", "follow", "looking", "marks"]

_PERIOD = 1.0  # s between two looks
_GLANCE = 0.3  # s between two looks at what the job prints


class Looks:
    """Looks at a job again and again.

    standing: how it stood last
    job:      the same as `mpidask.cli.table.row` has it
    view:     what was seen then
    endpoint: where the numbers were then, None if there are none
    ended:    whether the job has, for good
    failure:  what went wrong with the last look, None for nothing
    """

    def __init__(self, handle: Handle, *, follows: bool = False) -> None:
        """Look for the first time; who follows a job submits it again where it wants that and its node cannot."""
        self._handle, self._follows = handle, follows
        self.standing: Standing
        self.job: dict[str, Any]
        self.view: View
        self.endpoint: Endpoint | None = None
        self.ended = False
        self.failure: Exception | None = None
        self.look()

    def look(self, read: Read | None = None) -> None:
        """Look; with what reads the numbers, at them, too. Raises BatchError for a batch system that is gone."""
        from mpidask.attach import numbers
        from mpidask.dashboard.terminal import View

        standing = self._handle.refresh()
        if standing.state.ended_badly and self._is_over(standing):
            standing = self._handle.recheck()  # it may only have been given up
        self.standing, record = standing, self._handle.record
        job = self.job = table.row(record, standing)
        self.endpoint = None if job["workers"] is None else numbers.endpoint(record.progress)
        found: Mapping[str, Any] | None = None
        trouble = ""
        if read is not None and self.endpoint is not None:
            try:
                found = read()
            except StartupError as error:
                found, trouble = self.view.numbers, str(error)
        title = f"job {job['job'] or job['run']} ({job['name']}) on {job['system']}"
        of_it = title, job["state"], _words(job), job["workers"], job["expected_workers"]
        self.view = View(*of_it, found, trouble, table.last_lines(record))
        self.ended = self._is_over(standing)

    def _is_over(self, standing: Standing) -> bool:
        last = standing.final and standing.id == self._handle.record.id  # or it is submitted again
        return last and (not self._follows or self._handle.is_over(standing))


def _words(job: Mapping[str, Any]) -> str:
    """Return what there is to say of a job besides its state."""
    times = [(job["elapsed"], "elapsed"), (job["time_left"], "left")]
    told = [f", {table.duration(seconds)} {words}" for seconds, words in times if seconds is not None]
    reason = table.why(job)
    return "".join(told) + (f"; {reason}" if reason else "")


@contextlib.contextmanager
def looking(looks: Looks, read: Read | None) -> Iterator[int]:
    """Look again and again beside the block; yield a descriptor from which something can be read after each look."""
    reader, writer = os.pipe()
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            begun = time.monotonic()
            try:
                looks.look(read)
            except BatchError:  # the batch system is silent: what is known stays
                pass
            except Exception as error:  # noqa: BLE001 - the view raises it
                looks.failure = error
            if stop.is_set():
                return
            os.write(writer, b"!")
            # A scheduler with much to do is asked less often.
            stop.wait(max(_PERIOD, 10 * (time.monotonic() - begun)))

    thread = threading.Thread(target=look, name="mpidask looks", daemon=True)
    thread.start()
    try:
        yield reader
    finally:
        stop.set()
        thread.join(_PERIOD)  # one that waits for an answer ends with this process
        if not thread.is_alive():
            os.close(reader)
            os.close(writer)


def can_be_live(stream: Any) -> bool:
    """Whether a stream is a terminal on which lines can be written anew."""
    return bool(stream.isatty()) and os.environ.get("TERM", "dumb") != "dumb"


def marks() -> str:
    """Return what bars are made of."""
    try:
        "█░".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return "#-"
    return "█░"


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Have Ctrl-C wait for the end of the block: what writes on a terminal must not be cut off in the midst of it."""
    came: list[int] = []
    ours = signal.getsignal(signal.SIGINT) == signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
    if came:
        raise KeyboardInterrupt


# Following.


def follow(handle: Handle, *, show: bool) -> int:
    """Follow a job to its end; return the exit status to end with: the script's.

    show: print the job's output on stdout and how it stands on stderr, else only how it ends
    """
    try:
        standing = _live(handle) if show and can_be_live(sys.stderr) else _plain(handle, show=show)
    except KeyboardInterrupt:
        return _interrupted(handle)
    return _end(handle, standing, told=show)


def _live(handle: Handle) -> Standing:
    """Print a job's output, and the first part of its live view below that; return how it ends."""
    from mpidask.attach import numbers

    looks, output, part = Looks(handle, follows=True), _Output(handle.record.log), _ViewBelow()
    try:
        while not looks.ended:
            endpoint = looks.endpoint
            reached = numbers.reached(handle, endpoint, asks=False) if endpoint else contextlib.nullcontext()
            with reached as read, looking(looks, read) as news:
                while not looks.ended and looks.endpoint == endpoint:
                    if looks.failure is not None:
                        raise looks.failure
                    part.show(looks.view, output.new())
                    if select.select([news], [], [], _GLANCE)[0]:
                        os.read(news, 4096)
        part.show(looks.view, output.new())
    finally:
        part.end()
    return looks.standing


def _plain(handle: Handle, *, show: bool) -> Standing:
    """Print a job's output, and a line for each change of how it stands; return how it ends."""
    output, line = _Output(handle.record.log), StatusLine(enabled=show)
    line.is_live = False  # also on a terminal that can do no more
    standing = handle.refresh()
    for standing in handle.follow():
        if show:
            _write(output.new())
        if show and not standing.state.ended_badly:  # else `_end` says so
            line.show(_in_a_line(table.row(handle.record, standing)))
    if show:
        _write(output.new())
    return standing


def _in_a_line(job: Mapping[str, Any]) -> str:
    """Return how a job stands: the state, how many workers are up or why it waits."""
    said = f"job {job['job'] or job['run']} {job['state']}"
    up = "" if job["workers"] is None else f"{job['workers']} of {job['expected_workers']} workers up"
    more = up if job["state"] == "running" else "" if job["ended"] else table.why(job)
    return f"{said}, {more}" if more else said


class _Output:
    """The job's output, as it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = 0  # its number in the file system
        self._done = 0

    def new(self) -> bytes:
        """Return what has come since."""
        try:
            with self._path.open("rb") as file:
                number = os.fstat(file.fileno()).st_ino
                if number != self._file:  # the job runs again, and has begun another
                    self._file, self._done = number, 0
                file.seek(self._done)
                found = file.read()
        except OSError:
            return b""
        self._done += len(found)
        return found


def _write(output: bytes) -> None:
    sys.stdout.buffer.write(output)
    sys.stdout.buffer.flush()


class _ViewBelow:
    """The first part of the live view, on stderr, below the job's output.

    A line of output that is not complete, such as a progress bar, is shown with it; it is printed when it is complete.
    """

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False)
        self._live: Live | None = None
        self._rest = b""  # of the output: the line that is not complete

    @_uninterrupted()
    def show(self, view: View, output: bytes) -> None:
        """Print what the job has printed since, and show how it stands."""
        complete, end, rest = (self._rest + output).rpartition(b"\n")
        if not sys.stdout.isatty():
            complete, end, rest = output, b"", b""
        self._rest = rest
        if complete or end:
            self._clear()
            _write(complete + end)
        self._draw(view)

    def _draw(self, view: View) -> None:
        from rich.console import Group
        from rich.live import Live
        from rich.text import Text

        from mpidask.dashboard.terminal import summary

        size = self._console.size
        found = summary(view, size.width - 1, marks())
        if self._rest:
            partial = Text.from_ansi(self._rest.rsplit(b"\r", 1)[-1].decode(errors="replace").expandtabs())
            partial.truncate(size.width - 1)
            found.insert(0, partial)
        if self._live is None:
            options: dict[str, Any] = {"redirect_stdout": False, "redirect_stderr": False}
            self._live = Live(console=self._console, transient=True, auto_refresh=False, **options)
            self._live.start()
        self._live.update(Group(*found[: size.height - 1]), refresh=True)

    def _clear(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    @_uninterrupted()
    def end(self) -> None:
        """Leave what the job has printed."""
        self._clear()
        _write(self._rest)


def _end(handle: Handle, standing: Standing, *, told: bool) -> int:
    """Say how the job has ended; return the exit status to end with."""
    status, reason = standing.exit_status, standing.reason
    if standing.state is JobState.DONE:
        return 0
    how = f"exit status {status}" if status is not None else "without an exit status"
    if standing.state is JobState.CANCELLED:
        sys.stderr.write(f"mpidask: job {handle.title} was {reason or standing.state.value} ({how})\n")
    else:
        sys.stderr.write(f"mpidask: job {handle.title} failed: {how}{f': {reason}' if reason else ''}\n")
    lines = handle.record.system_log.splitlines()[-5:] if told else table.last_lines(handle.record)
    sys.stderr.write("".join(f"mpidask: | {each}\n" for each in lines))
    return status or LostError.status


def _interrupted(handle: Handle) -> int:
    """Ask whether the job is to go on; return the exit status to end with."""
    sys.stderr.write("\n")
    try:
        if sys.stdin.isatty():
            answer = input(f"mpidask: cancel job {handle.title}? [y/N] ")
            if answer.strip().lower() in ("y", "yes"):
                handle.cancel()
                sys.stderr.write(f"mpidask: job {handle.title} is cancelled\n")
                return 130
    except (KeyboardInterrupt, EOFError):
        sys.stderr.write("\n")
    further = f"`mpidask logs -f {handle.title}` follows it, `mpidask cancel {handle.title}` ends it"
    sys.stderr.write(f"mpidask: job {handle.title} goes on; {further}\n")
    return 130
