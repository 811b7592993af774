"""Following a job: its output, and a line that says how it stands."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from mpidask.batch.job_state import JobState
from mpidask.batch.status import Standing
from mpidask.batch.submission.handles import Handle
from mpidask.cli import table
from mpidask.errors import LostError
from mpidask.status_line import StatusLine

__all__ = ["follow"]


def follow(handle: Handle, *, show: bool) -> int:
    """Follow a job to its end; return the exit status to end with: the script's.

    show: print the job's output on stdout and how it stands on stderr, else only how it ends
    """
    try:
        return _follow(handle, show=show)
    except KeyboardInterrupt:
        return _interrupted(handle)


def _follow(handle: Handle, *, show: bool) -> int:
    output = _Output(handle.record.log)
    line = StatusLine(enabled=show)
    standing = handle.refresh()
    for standing in handle.follow():
        if show:
            output.copy(line)
        if show and not standing.state.ended_badly:  # else `_end` says so
            parts = _parts(handle, standing)
            line.show(", ".join(filter(None, parts)), in_logs=", ".join(filter(None, parts[:2])))
    if show:
        output.copy(line)
    line.clear()
    return _end(handle, standing, told=show)


def _parts(handle: Handle, standing: Standing) -> list[str]:
    """Return how a job stands: the state, how many workers are up or why it waits, and what changes all the time."""
    each = table.row(handle.record, standing)
    parts = [f"job {each['job'] or each['run']} {each['state']}"]
    waits = standing.state in (JobState.PENDING, JobState.HELD, JobState.UNKNOWN)
    up = f"{each['workers']} of {each['expected_workers']} workers up"
    parts.append(table.why(each) if waits else up if each["workers"] is not None else "")
    parts.append("" if each["time_left"] is None else f"{table.duration(each['time_left'])} left")
    return parts


class _Output:
    """The job's output, copied as it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = 0  # its number in the file system
        self._done = 0

    def copy(self, line: StatusLine) -> None:
        """Write to stdout what has come since."""
        try:
            with self._path.open("rb") as file:
                number = os.fstat(file.fileno()).st_ino
                if number != self._file:  # the job runs again, and has begun another
                    self._file, self._done = number, 0
                file.seek(self._done)
                new = file.read()
        except OSError:
            return
        if new:
            line.clear()
            self._done += len(new)
            sys.stdout.buffer.write(new)
            sys.stdout.buffer.flush()


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
