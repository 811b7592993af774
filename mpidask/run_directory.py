"""The run directory of a batch job: what the job leaves there for those who watch it from outside.

Made by whoever submits the job (mode 0700, on a file system that the nodes share) and named to the job by
``MPIDASK_RUN_DIRECTORY``. Its files are where `mpidask.launch` (inside the job) and `mpidask.batch` (outside) meet.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping

from mpidask.files import replace_json

__all__ = [
    "CAME",
    "CORES",
    "DIRECTORY",
    "END",
    "EXECUTIONS",
    "GRACE",
    "LOG",
    "MEMORY",
    "NO_REPORT",
    "PREPARED",
    "SCHEDULER",
    "SILENT",
    "STATUS",
    "SUCCEEDED",
    "WARNING",
    "Progress",
    "executions",
    "key_file",
    "rank_log",
    "status_file",
]

#: Environment variables of a job.
DIRECTORY = "MPIDASK_RUN_DIRECTORY"
END = "MPIDASK_END_TIME"  # when the walltime ends: seconds since 1970
WARNING = "MPIDASK_WALLTIME_WARNING"  # a file that appears when the batch system warns of the walltime
GRACE = "MPIDASK_GRACE_TIME"  # s between a SIGTERM to the ranks and the end of a job that makes room for another
CORES = "MPIDASK_CORES"  # of each node, as the job asks for them
MEMORY = "MPIDASK_MEMORY"  # the same; bytes

#: Files.
LOG = "job.log"  # what the job script and all in it print
STATUS = "status"  # the exit status, written when the job script has ended by itself; see `status_file`
EXECUTIONS = "executions"  # a line for each time that the job was started: how often before, time, host
CAME = "came"  # a rank was started
PREPARED = "prepared"  # the prologue has come to its end
SILENT = "no-rank-came"  # the launcher was ended because it has started none
SUCCEEDED = "succeeded-by-another"  # a file: the job has submitted itself again
PROGRESS = "progress.json"
NO_REPORT = "none"  # in the place of the directory in which a run keeps its record
SCHEDULER = "scheduler.json"  # where the scheduler is, and the keys, of a job that serves clients from elsewhere


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a run is, as its scheduler's rank writes it.

    workers:  how many are up
    expected: how many there are to be
    ends:     when the walltime ends, in seconds since 1970; None if the run does not know
    script:   the rank that runs the script; None without one
    names:    name of a worker -> its rank
    dashboard: its link, on the loopback of `host`; None without one
    host:     the scheduler's node
    nodes:    all nodes of the run
    began:    when the run began, in s since 1970
    pages:    where the scheduler's pages begin, also those that need no bokeh; on the same loopback
    """

    workers: int
    expected: int
    ends: float | None = None
    script: int | None = None
    names: Mapping[str, int] = dataclasses.field(default_factory=dict)
    dashboard: str | None = None
    host: str | None = None
    nodes: list[str] = dataclasses.field(default_factory=list)
    began: float | None = None
    pages: str | None = None

    @classmethod
    def read(cls, directory: str) -> Progress | None:
        """Return what the run in this directory has written last, None if it has not written yet."""
        import json  # not at the top: ranks that only wait do without

        try:
            with open(os.path.join(directory, PROGRESS), encoding="utf-8") as file:
                return cls(**json.load(file))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, directory: str) -> None:
        """Write it down in this directory; raises OSError."""
        replace_json(os.path.join(directory, PROGRESS), dataclasses.asdict(self))


def status_file(execution: int) -> str:
    """Return the name of the file with the exit status of an execution of the job; 0 is the first one.

    Each has its own: the first may still end when another has been started, on a node that was taken for lost.
    """
    return f"{STATUS}.{execution}" if execution else STATUS


def executions(text: str) -> list[tuple[int, float]]:
    """Return what the file of executions tells: number and time (s since 1970) of each."""
    lines = (line.split() for line in text.splitlines())
    whole = (line for line in lines if len(line) > 1 and line[0].isdecimal() and line[1].isdecimal())
    return [(int(line[0]), float(line[1])) for line in whole]


def key_file(scheduler_file: str) -> str:
    """Return the file in which plain Dask finds the keys that a scheduler file has; `mpidask keys` writes it."""
    return f"{scheduler_file}.pem"


def rank_log(directory: str, rank: int) -> str:
    """Return the file to which a rank's servers and tasks print."""
    return os.path.join(directory, f"rank-{rank}.log")
