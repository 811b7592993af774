"""`JobAttributes`: what dask-jobqueue's jobs tell of themselves, by the same names."""

from __future__ import annotations

import dataclasses
import shlex
from typing import Any

from mpidask.batch.commands.command import Command
from mpidask.batch.system import BatchSystem
from mpidask.errors import ArgumentError
from mpidask.jobqueue.jobs.dispatcher import Dispatcher
from mpidask.jobqueue.jobs.spec import JobRange, JobSpec
from mpidask.jobqueue.jobs.tracked_job import TrackedJob
from mpidask.jobqueue.jobs.worker_command import worker_command

__all__ = ["JobAttributes"]


@dataclasses.dataclass(frozen=True)
class _Assigned:
    """Option lines that a derived class has assigned, and the generated ones that they replace."""

    header: str
    instead_of: list[str]


class JobAttributes(TrackedJob):
    """A job whose names, commands, option lines and sizes users look at, and assign.

    Parameters
    ----------
    name : str or None
        Name of the worker.
    number : int
        The job's number in its cluster.
    dispatcher : Dispatcher or None
        Submits and cancels the job.
    system : BatchSystem
        The batch system.
    """

    def __init__(self, name: str | None, number: int, dispatcher: Dispatcher | None, system: BatchSystem) -> None:
        super().__init__(name, number)
        self.dispatcher = dispatcher
        self.system = system
        self._assigned: _Assigned | None = None
        self._own_header = False
        self._settled: dict[str, Any] = {}

    @property
    def job_name(self) -> str:
        """The job's name for the batch system."""
        return str(self._settled["job_name"])

    @property
    def shebang(self) -> str:
        """The first line of the job script."""
        return str(self._settled["shebang"])

    @property
    def log_directory(self) -> str | None:
        """Where the batch system leaves its logs; None for the cluster's directory."""
        return self._settled["log_directory"]

    @property
    def job_extra_directives(self) -> Any:
        """Further option lines."""
        return self._settled["job_extra_directives"]

    @property
    def job_directives_skip(self) -> list[str]:
        """What generated option lines contain that are left out."""
        return self._settled["job_directives_skip"]

    @property
    def submit_command(self) -> str:
        """The submit command with the further words for it."""
        return self._command("submit")

    @property
    def cancel_command(self) -> str:
        """The cancel command with the further words for it."""
        return self._command("cancel")

    def _command(self, name: str) -> str:
        line = "".join(getattr(self.system, name))
        return shlex.join([Command.parse(line).program, *self._settled.get(f"{name}_command_extra", ())])

    @property
    def job_header(self) -> str:
        """The option lines; what is assigned replaces them."""
        if self._assigned is None:
            return self._generated_header()
        # Lines for logs are missing in what was assigned before the job had a place for them; the user's count.
        added = [line for line in self._generated_header().splitlines() if line not in self._assigned.instead_of]
        return "\n".join([*added, self._assigned.header])

    @job_header.setter
    def job_header(self, header: str) -> None:
        self._assigned = _Assigned(str(header), self._generated_header().splitlines())
        self._own_header = True
        self.spec = self._headed(self.spec)

    def _generated_header(self) -> str:
        return "\n".join(dataclasses.replace(self.spec, own_header=None).header(self.job_range))

    def _headed(self, spec: JobSpec) -> JobSpec:
        """Return a specification with the option lines of a derived class, if it has its own."""
        if not self._own_header:
            return spec
        return dataclasses.replace(spec, own_header=tuple(str(self.job_header).splitlines()))

    @property
    def _command_template(self) -> str:  # where users of dask-jobqueue look for the worker's command
        return worker_command(self.spec)

    @_command_template.setter
    def _command_template(self, command: str) -> None:
        if self.spec.ranks > 1:
            raise ArgumentError(
                f"_command_template is assigned to a job of {self.spec.ranks} ranks, whose names it cannot have",
                "use python, worker_command and worker_extra_args",
            )
        self.spec = dataclasses.replace(self.spec, command_line=str(command), alone=True)

    @property
    def worker_processes(self) -> int:
        """Workers of the job."""
        return self.spec.workers

    @property
    def worker_cores(self) -> int:
        """Cores of the job."""
        return self.spec.cores * self.spec.nodes

    @property
    def worker_memory(self) -> int:
        """Memory of the job in bytes."""
        return self.spec.memory * self.spec.nodes

    @property
    def worker_process_threads(self) -> int:
        """Threads of each worker."""
        return dataclasses.replace(self.spec, own_threads=None).threads

    @property
    def worker_process_memory(self) -> str:
        """Memory of each worker."""
        return dataclasses.replace(self.spec, own_memory_limit=None).memory_limit

    @property
    def job_range(self) -> JobRange | None:
        """Where it leaves its logs; None without a cluster."""
        directory = self.directory or (self.dispatcher.directory if self.dispatcher else None)
        return None if directory is None else JobRange(directory, self.number)
