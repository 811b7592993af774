"""One job, as its run directory tells."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
from pathlib import Path
from typing import Any

from mpidask import run_directory
from mpidask.batch.commands.command import Command
from mpidask.batch.job_state import JobId
from mpidask.batch.records.claims import Claim, Outcome, changed
from mpidask.batch.records.processes import Process
from mpidask.batch.status import SIGNALS, Standing
from mpidask.files import append_json, json_lines, mark, replace_json
from mpidask.run_directory import Progress

__all__ = ["SCRIPT", "Record", "newest"]

SCRIPT = "job.sh"
_SUBMISSIONS, _STANDING, _CANCELLED = "submissions", "standing.json", "cancelled"
_REFUSED, _SUBMITTING = "refused", "submitting"
_TAIL = 1 << 14  # bytes

#: What is known of jobs in whose directories it could not be written, for this process alone.
_unwritten: dict[Path, Standing] = {}


@dataclasses.dataclass(frozen=True)
class Record:
    """One job, as its files tell.

    directory: the run directory
    system:    name of the batch system
    job:       the job's name
    origin:    the directory where it was submitted
    walltime:  s; None for the site's default
    requeue:   how often it may submit itself again
    command:   that submitted it
    """

    directory: Path
    system: str
    job: str
    origin: str
    words: tuple[str, ...]
    nodes: int
    ranks: int
    walltime: float | None
    requeue: int
    command: Command

    @property
    def name(self) -> str:
        """The run's name: that of its directory."""
        return self.directory.name

    @property
    def script(self) -> Path:
        """The job script."""
        return self.directory / SCRIPT

    @property
    def submissions(self) -> list[tuple[JobId, float]]:
        """Job and time (s since 1970) of each submission; the last one counts."""
        lines = [each for line in json_lines(self.directory / _SUBMISSIONS) if (each := _submission(line))]
        # Two processes may have found the same job.
        return [each for index, each in enumerate(lines) if not index or each[0] != lines[index - 1][0]]

    @property
    def known(self) -> list[JobId]:
        """All jobs that it was submitted as."""
        return [job for job, _ in self.submissions]

    @property
    def identity(self) -> JobId:
        """The job that was submitted last; its id is "" if there was none."""
        return (self.submissions or [(JobId(""), 0.0)])[-1][0]

    @property
    def id(self) -> str:
        """The id of that job, with the destination, "" if there was none."""
        return str(self.identity)

    @property
    def submitted(self) -> float:
        """When the job was submitted last, in s since 1970."""
        return self.submissions[-1][1]

    def add_submission(self, job: JobId, when: float | None = None) -> None:
        """Note that the job was submitted, under this id; when: s since 1970, None for now."""
        claims = self._claims
        append_json(self.directory / _SUBMISSIONS, [[job.id, time.time() if when is None else when, job.where]])
        for path in (self.directory / _REFUSED, *claims):
            path.unlink(missing_ok=True)

    @property
    def standing(self) -> Standing:
        """What is known of the current submission."""
        unwritten = _unwritten.get(self.directory)
        if unwritten is not None and unwritten.id == self.id:
            return unwritten
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            known = Standing.from_json(json.loads((self.directory / _STANDING).read_text()))
            if known.id == self.id:
                return known
        return Standing(id=self.id)

    def keep(self, standing: Standing) -> None:
        """Write down what is known now; other shells read it."""
        try:
            replace_json(str(self.directory / _STANDING), standing.to_json())
            _unwritten.pop(self.directory, None)
        except OSError:  # a full disk does not keep a job from being watched
            _unwritten[self.directory] = standing

    @property
    def executions(self) -> list[tuple[int, float]]:
        """Number (0 is the first) and time, in s since 1970, of each time that the submitted job was started."""
        return run_directory.executions(_text(self.directory / run_directory.EXECUTIONS))

    @property
    def execution(self) -> int | None:
        """The number of the last of them; None before the first."""
        started = self.executions
        return started[-1][0] if started else None

    def left(self, execution: int) -> tuple[float | None, int | None]:
        """Return when an execution of the job ended, in s since 1970, and its exit status; None if it has left none."""
        path = self.directory / run_directory.status_file(execution)
        text = _text(path).strip()
        return (changed(path), int(text)) if text.isdigit() else (None, None)

    @property
    def exited(self) -> int | None:
        """The exit status that the job script left when it was started last; None if it has not ended by itself."""
        return self.left(self.execution or 0)[1]

    def forget_exit(self) -> None:
        """Remove what the job script has left: the job is submitted again."""
        for path in (self.directory / run_directory.EXECUTIONS, *self.directory.glob(f"{run_directory.STATUS}*")):
            path.unlink(missing_ok=True)

    @property
    def exited_at(self) -> float:
        """When that was, in s since 1970; now if it was not."""
        return self.left(self.execution or 0)[0] or time.time()

    def ended(self, standing: Standing) -> float | None:
        """Return when the job ended, in s since 1970; None if it has not.

        Where its script has left nothing that is when its end was noticed; of a job that was not submitted, when
        anything was written into its run directory last.
        """
        if not self.id:
            return newest(self.directory)
        if not standing.state.ended:
            return None
        return self.exited_at if self.exited is not None else standing.absent or standing.asked

    @property
    def moved_at(self) -> float:
        """When the job has changed one of its files last, in s since 1970."""
        names = (run_directory.EXECUTIONS, run_directory.LOG, run_directory.PROGRESS, run_directory.SCHEDULER)
        paths = [*(self.directory / name for name in names), *self.directory.glob("rank-*.log")]
        return max(map(changed, paths))

    @property
    def hosts(self) -> list[str]:
        """The nodes of the current execution, or of the last one while the job waits to run again."""
        progress = self.progress
        return [] if progress is None else progress.nodes

    @property
    def progress(self) -> Progress | None:
        """How far the run has come; None if it has not said."""
        return Progress.read(str(self.directory))

    def note_cancelled(self) -> None:
        """Note that the user has cancelled the job; a full disk does not keep it from being cancelled."""
        with contextlib.suppress(OSError):
            mark(self.directory / _CANCELLED)

    def forget_cancelled(self) -> None:
        """Remove that note: the job could not be cancelled."""
        with contextlib.suppress(OSError):
            (self.directory / _CANCELLED).unlink(missing_ok=True)

    @property
    def cancel_asked(self) -> bool:
        """Whether the user has cancelled the job with us, when it may have ended already."""
        return (self.directory / _CANCELLED).exists()

    @property
    def cancelled(self) -> bool:
        """Whether the user has cancelled the job with us before its script ended by itself."""
        ended, status = self.left(self.execution or 0)
        if not self.cancel_asked or ended is None or status is None:
            return self.cancel_asked
        return status > SIGNALS or ended >= changed(self.directory / _CANCELLED)

    def claim(self, where: tuple[str, ...]) -> Claim | None:
        """Take on the next submission of the job, at a destination; None if somebody else has. Raises OSError."""
        if self.claimed is not None:
            return None
        path = self.directory / f"{_SUBMITTING}.{len(self.submissions)}.{len(self._claims)}"
        claim = Claim(path=path, process=Process.here(), where=where, since=time.time())
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            return None
        with os.fdopen(file, "w") as writer:
            writer.write(claim.to_json())
        return claim

    @property
    def claimed(self) -> Claim | None:
        """The next submission, if somebody has taken it on: it is under way, or nobody knows what became of it."""
        claims = self._claims
        last = Claim.read(claims[-1]) if claims else None
        return last if last and last.outcome is not Outcome.VOID else None

    @property
    def _claims(self) -> list[Path]:
        """The files of those who have taken on the next submission, one after another."""
        found = self.directory.glob(f"{_SUBMITTING}.{len(self.submissions)}.*")
        return sorted(found, key=lambda path: int(path.suffix[1:]))

    def note_refused(self) -> None:
        """Note that the batch system has refused the job."""
        with contextlib.suppress(OSError):  # a full disk does not hide why
            mark(self.directory / _REFUSED)

    @property
    def refused(self) -> bool:
        """Whether the batch system has refused the job."""
        return (self.directory / _REFUSED).exists()

    @property
    def doubt(self) -> Claim | None:
        """The next submission, if it may have succeeded under an id that is not known; None if it is under way, too."""
        claim = self.claimed
        return None if claim is None or claim.is_held else claim

    @property
    def log(self) -> Path:
        """The file with what the job prints."""
        return self.directory / run_directory.LOG

    @property
    def tail(self) -> str:
        """The last lines that the job has printed."""
        with contextlib.suppress(OSError), self.log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            return file.read().decode(errors="replace")
        return ""

    @property
    def system_log(self) -> str:
        """What the batch system itself has printed about the job."""
        return _text(self.directory / "system.log")


def _submission(line: Any) -> tuple[JobId, float] | None:
    """Return the job and the time that a line of the file of submissions tells of, None for an odd line."""
    match line:
        case [str(job_id), float(moment) | int(moment), *rest] if job_id:
            return JobId.from_json(job_id, *rest[:1]), float(moment)
    return None


def newest(directory: Path) -> float:
    """Return when anything in a run directory, but not deeper, was written last, in s since 1970; 0 if it is gone.

    What we know of the job does not count.
    """
    times = [0.0]
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if entry.name != _STANDING and not entry.name.startswith(_SUBMITTING):
                with contextlib.suppress(OSError):
                    times.append(entry.stat(follow_symlinks=False).st_mtime)
    return max(times)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
