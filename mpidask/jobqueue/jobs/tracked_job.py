"""`TrackedJob`: a per-worker job for those who submit, watch and report it."""

from __future__ import annotations

import functools
import time
from pathlib import Path
from typing import Any

from distributed.deploy.spec import ProcessInterface

from mpidask.batch.job_state import JobId, JobState
from mpidask.batch.status import Standing
from mpidask.jobqueue.jobs import hooks
from mpidask.jobqueue.jobs.files import JobFiles, read
from mpidask.jobqueue.jobs.spec import JobRange, JobSpec
from mpidask.jobqueue.jobs.worker_names import WorkerNames

__all__ = ["TrackedJob"]

_TAIL = 20  # lines of a log that are shown


class TrackedJob(ProcessInterface):
    """What becomes of a job: its id, its state, its workers, its files. `monitor.Watched` is a part of it.

    Parameters
    ----------
    name : str or None
        Name of the worker; those of several in one job have a suffix.
    number : int
        The job's number in its cluster.

    Attributes
    ----------
    spec : JobSpec
        What it asks for and runs.
    id : str
        Its id for the batch system; empty before it has one.
    where : tuple of str
        Where it was submitted; see `JobId`.
    directory : Path or None
        Where it leaves its files.
    submitted : float
        When it was submitted, in s since 1970.
    unclear : bool
        It may have been submitted, and nobody has said so.
    standing : Standing
        What is known of it.
    cancelled : bool
        The cluster or its user has cancelled it.
    arrived_at : float or None
        When the first of its workers came.
    seen_at : float
        When its workers were there last.
    present : set of str
        The names of its workers that are there.
    restarts : int
        How many have ended in whose place it is.
    """

    spec: JobSpec

    def __init__(self, name: str | None, number: int) -> None:
        super().__init__()
        self.name = name
        self.number = number
        self.id = ""
        self.where: tuple[str, ...] = ()
        self.directory: Path | None = None
        self.submitted = 0.0
        self.unclear = False
        self.standing = Standing(id="")
        self.cancelled = False
        self.arrived_at: float | None = None
        self.seen_at = 0.0
        self.present: set[str] = set()
        self.restarts = 0

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        hooks.remember(cls)

    # What its class says.

    @property
    def job_name(self) -> str:
        """The job's name for the batch system."""
        raise NotImplementedError

    def text(self, spec: JobSpec, job_range: JobRange) -> str:
        """Return the job script for a specification.

        Parameters
        ----------
        spec : JobSpec
            The job.
        job_range : JobRange
            Where the job leaves its logs.

        Returns
        -------
        str
            The text of the script.
        """
        raise NotImplementedError

    def submit_words(self, words: tuple[str, ...], script: Path) -> tuple[str, ...]:
        """Return the words of the submit command.

        Parameters
        ----------
        words : tuple of str
            The command as the batch system's file has it.
        script : Path
            The job script.

        Returns
        -------
        tuple of str
            The words to run.
        """
        return words

    @property
    def kind(self) -> str:
        """What jobs have in common that may be submitted together."""
        stem = str(self.name).removesuffix(f"-{self.number}")  # one that has no number is nobody else's
        return f"{type(self).__name__} {stem}"

    # Its workers.

    @functools.cached_property
    def _names(self) -> WorkerNames:
        return WorkerNames(str(self.name), self.spec.suffixes)

    @property
    def worker_names(self) -> list[str]:
        """The names of its workers."""
        return list(self._names.every)

    def owns(self, worker: object) -> bool:
        """Return whether a worker of that name is one of the job's.

        Parameters
        ----------
        worker : object
            Name of a worker.

        Returns
        -------
        bool
            Whether it is the job's.
        """
        return self._names.owns(worker)

    def among(self, names: set[str]) -> set[str]:
        """Return which workers are the job's.

        Parameters
        ----------
        names : set of str
            Names of workers.

        Returns
        -------
        set of str
            Those of the job.
        """
        return self._names.among(names)

    @property
    def lived(self) -> float:
        """How long its workers have been there, in s."""
        return max(0.0, self.seen_at - (self.arrived_at or self.seen_at))

    # Its state.

    @property
    def job_id(self) -> str | None:
        """The job id that the batch system gave; None before."""
        return self.id or None

    @property
    def identity(self) -> JobId:
        """Which job of the batch system it is."""
        return JobId(self.id, self.where)

    @property
    def state(self) -> JobState:
        """The job's state, as the batch system told it last."""
        return self.standing.state

    @property
    def cancel_asked(self) -> bool:
        """Whether it was cancelled by the cluster or its user."""
        return self.cancelled

    # What it leaves.

    @property
    def files(self) -> JobFiles:
        """Its files."""
        return JobFiles(self.directory, self.number)

    @property
    def executions(self) -> list[tuple[int, float]]:
        """Number (0 is the first) and time, in s since 1970, of each time that the job was started."""
        return self.files.executions

    @property
    def execution(self) -> int | None:
        """The number of the last of them; None before the first."""
        return self.files.execution

    @property
    def exited(self) -> int | None:
        """The exit status that its script left when it was started last; None if it has not ended by itself."""
        return self.files.exited

    @property
    def exited_at(self) -> float:
        """When that was, in s since 1970; now if it was not."""
        return self.files.exited_at

    @property
    def hosts(self) -> tuple[str, ...]:
        """Nothing: of a lost node it is enough that the job is replaced."""
        return ()

    @property
    def moved_at(self) -> float:
        """When it has shown last that it is at work, in s since 1970: now while its workers are connected."""
        return time.time() if self.present else self.files.printed_at

    @property
    def system_log(self) -> str:
        """What the batch system itself has printed about the job, and the job where it prints there."""
        keywords = self.spec.keywords
        logs = self.files.system_logs(self.id, str(keywords["job_name"]), keywords["log_directory"])
        return "".join(map(read, logs))

    @property
    def log(self) -> str:
        """What the job has printed so far."""
        return self.files.log + self.system_log

    @property
    def tail(self) -> str:
        """The last lines of that."""
        return "\n".join(self.log.rstrip().splitlines()[-_TAIL:])

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: job {self.id or 'not submitted'}, {self.standing.state.value}>"
