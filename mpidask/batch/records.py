"""The small record that every submitted job has: its run directory, under the user's state directory.

::

    ~/.local/state/mpidask/jobs/20261121-071502-flights-k3f9/
        job.sh          the script
        record.json     what was asked for, and the command that submitted it
        submissions     one line for each time it was submitted: job id, time, place
        standing.json   what the batch system said last
        cancelled, refused   empty files: the user has cancelled the job; its submission was refused
        submitting.1.0  who has taken on to submit it, after 1 submission; see `Claim`
        job.log, status, rank-2.log, ...   what the job leaves: see `mpidask.run_directory`

Everything is readable by the user alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import json
import os
import secrets
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from mpidask import quantities, run_directory
from mpidask.batch import settings
from mpidask.batch.command import Command
from mpidask.batch.job import Job
from mpidask.batch.job_state import JobId
from mpidask.batch.processes import Process
from mpidask.batch.status import SIGNALS, Standing
from mpidask.batch.submit_command import job_script, submit_command
from mpidask.batch.system import BatchSystem
from mpidask.errors import BatchError, UsageError
from mpidask.files import append_json, is_ours, json_lines, make_private, mark, replace, replace_json
from mpidask.run_directory import Progress

__all__ = ["Claim", "Outcome", "Record", "create", "find", "home", "newest", "planned", "read", "records"]

SCRIPT = "job.sh"
_RECORD, _SUBMISSIONS, _STANDING, _CANCELLED = "record.json", "submissions", "standing.json", "cancelled"
_REFUSED, _SUBMITTING = "refused", "submitting"
_CLAIM = 300.0  # s after which a submission that is under way is taken for one that was cut off


class Outcome(enum.Enum):
    """What became of a submission that has left no job id."""

    OPEN = "open"  # it is under way, or its process has ended
    UNCLEAR = "unclear"
    VOID = "void"  # no job was submitted


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    """Who submits a job, or has done so without learning its id.

    path:    the file; its name has the number of submissions before, and that of claims to the same one
    process: None if that is not known
    where:   where it is submitted; see `JobId`
    since:   when it began; s since 1970
    """

    path: Path
    process: Process | None
    where: tuple[str, ...]
    since: float
    outcome: Outcome = Outcome.OPEN

    @property
    def is_held(self) -> bool:
        """Whether the submission is under way: its process lives, and has not been at it for minutes."""
        young = time.time() - self.since < _CLAIM
        return self.outcome is Outcome.OPEN and young and not (self.process and self.process.has_ended)

    @property
    def looked(self) -> float:
        """When it was written or the job was looked for last, in s since 1970."""
        return _changed(self.path)

    def note_looked(self) -> None:
        """Note that the job was looked for now."""
        with contextlib.suppress(OSError):
            os.utime(self.path)

    def settle(self, outcome: Outcome) -> None:
        """Write down what became of it; raises OSError."""
        replace(str(self.path), dataclasses.replace(self, outcome=outcome).to_json())

    def to_json(self) -> str:
        """Return it as text, but for its path."""
        process = None if self.process is None else dataclasses.asdict(self.process)
        return json.dumps(
            {"process": process, "where": self.where, "since": self.since, "outcome": self.outcome.value}, indent=2
        )

    @classmethod
    def read(cls, path: Path) -> Claim:
        """Return the claim in a file; one that is half written has just been made."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            content = json.loads(path.read_text())
            return cls(
                path=path,
                process=Process(**content["process"]) if content["process"] else None,
                where=tuple(content["where"]),
                since=float(content["since"]),
                outcome=Outcome(content["outcome"]),
            )
        return cls(path=path, process=None, where=(), since=_changed(path))


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
        """The id of that job, with the place where it was submitted, "" if there was none."""
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
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            known = Standing.from_json(json.loads((self.directory / _STANDING).read_text()))
            if known.id == self.id:
                return known
        return Standing(id=self.id)

    def keep(self, standing: Standing) -> None:
        """Write down what is known now; other shells read it."""
        with contextlib.suppress(OSError):  # a full disk does not keep a job from being watched
            replace_json(str(self.directory / _STANDING), standing.to_json())

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
        return (_changed(path), int(text)) if text.isdigit() else (None, None)

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
        return max(map(_changed, paths))

    @property
    def progress(self) -> Progress | None:
        """How far the run has come; None if it has not said."""
        return Progress.read(str(self.directory))

    def note_cancelled(self) -> None:
        """Note that the user has cancelled the job."""
        mark(self.directory / _CANCELLED)

    def forget_cancelled(self) -> None:
        """Remove that note: the job could not be cancelled."""
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
        return status > SIGNALS or ended >= _changed(self.directory / _CANCELLED)

    def claim(self, where: tuple[str, ...]) -> Claim | None:
        """Take on the next submission of the job, at a place; None if somebody else has. Raises OSError."""
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
    def system_log(self) -> str:
        """What the batch system itself has printed about the job."""
        return _text(self.directory / "system.log")


def create(job: Job, system: BatchSystem, state_directory: str | None) -> tuple[Record, Job]:
    """Make the run directory of a job with its script; return the record and the job as it is to be submitted.

    Raises UsageError for what the system cannot carry, BatchError if the directory cannot be written.
    """
    job = planned(job, state_directory)
    directory = home(state_directory) / str(job.run_directory)
    text = job_script(system, job)
    command = submit_command(system, job, directory / SCRIPT)
    record = Record(
        directory=directory,
        system=system.name,
        job=job.name,
        origin=os.getcwd(),
        words=job.command,
        nodes=job.resources.nodes,
        ranks=job.resources.ranks,
        walltime=None if job.walltime is None else job.walltime.total_seconds(),
        requeue=job.requeue,
        command=command,
    )
    try:
        make_private(directory.parent)
        directory.mkdir(mode=0o700)
        replace(str(record.script), text)
        record.script.chmod(0o700)
        _write(record)
    except OSError as error:
        raise BatchError(
            f"the run directory {directory} cannot be written: {error.strerror}",
            "name another place that the nodes share with --state-directory",
        ) from None
    return record, job


def planned(job: Job, state_directory: str | None) -> Job:
    """Return a job with a run directory, which is not made yet; raises UsageError for a place that cannot be used."""
    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    return dataclasses.replace(job, run_directory=home(state_directory) / f"{stamp}-{job.name}-{secrets.token_hex(2)}")


def records(state_directory: str | None) -> list[Record]:
    """Return all jobs that are on record, the oldest first."""
    return sorted(
        _all(home(state_directory)), key=lambda record: ((record.submissions or [(JobId(""), 0.0)])[0][1], record.name)
    )


def find(state_directory: str | None, token: str) -> Record:
    """Return the job with this job id or run name (or the beginning of one); raises UsageError."""
    every = records(state_directory)
    by_id = [record for record in every if _typed(token) in [_typed(str(job)) for job in record.known]]
    by_name = [record for record in every if record.name == token]
    by_number = [record for record in every if token in [job.id for job, _ in record.submissions]]
    found = by_id or by_name or by_number or [each for each in every if each.identity.id.split(".")[0] == token]
    if not found:
        raise UsageError(f"there is no job {token!r} on record", "`mpidask status --all` lists those that there are")
    return found[-1]  # batch systems begin again with their ids; the latest is meant


def _typed(job_id: str) -> str:
    """Return a job id in the one spelling of those that users copy: sbatch prints 100;far, and flux may print ƒ2x."""
    return job_id.replace(";", "@").replace("ƒ", "f")


def _all(home: Path) -> Iterator[Record]:
    with contextlib.suppress(FileNotFoundError):
        for directory in home.iterdir():
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # half written, or not ours
                if is_ours(directory):
                    yield read(directory)


def home(state_directory: str | None, kind: str = "jobs") -> Path:
    """Return where records of a kind are kept; raises UsageError for a place that batch systems cannot cope with."""
    state = state_directory or settings.section().get("state-directory") or settings.section().get("state_directory")
    default = Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state") / "mpidask"
    place = (
        Path(os.path.abspath(quantities.path(str(state), "state-directory") if state else default.expanduser())) / kind
    )
    if any(character.isspace() for character in str(place)):
        raise UsageError(
            f"the state directory's path has blanks: {str(place)!r}",
            "batch systems cannot cope with these; name another one with --state-directory",
        )
    return place


def _write(record: Record) -> None:
    content = dataclasses.asdict(record)
    del content["directory"]
    replace_json(str(record.directory / _RECORD), content)


def read(directory: Path) -> Record:
    """Return the record in a run directory; raises OSError, ValueError, KeyError or TypeError if there is none."""
    content: dict[str, Any] = dict(json.loads((directory / _RECORD).read_text()))
    command = content.pop("command")
    return Record(
        directory=directory,
        command=Command(argv=tuple(command["argv"]), stdin=command["stdin"]),
        **{**content, "words": tuple(content["words"])},
    )


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


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
