"""Per-worker jobs under HTCondor: the names of ``dask_jobqueue.htcondor``."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from dask.utils import parse_bytes

from mpidask.errors import ArgumentError
from mpidask.jobqueue.cluster.documentation import documented
from mpidask.jobqueue.cluster.job_queue_cluster import JobQueueCluster
from mpidask.jobqueue.jobs import hooks
from mpidask.jobqueue.jobs.job import Job
from mpidask.jobqueue.jobs.script import job_script
from mpidask.jobqueue.jobs.spec import JobRange, JobSpec

__all__ = ["HTCondorCluster", "HTCondorJob", "quote_arguments", "quote_environment"]

_ABSENT = object()


@dataclasses.dataclass
class _Attributes:
    """Attributes of a submit description that may be changed: those that nobody has changed stay the generated ones.

    generated: what they were when they were generated last
    current:   what they are
    """

    generated: dict[str, Any] = dataclasses.field(default_factory=dict)
    current: dict[str, Any] = dataclasses.field(default_factory=dict)

    def refreshed(self, generated: dict[str, Any]) -> dict[str, Any]:
        """Return the attributes, with newly generated values of those that are as they were generated before."""
        for name, value in generated.items():
            if self.current.get(name, _ABSENT) == self.generated.get(name, _ABSENT):
                self.current[name] = value
        self.generated = generated
        return self.current


class HTCondorJob(Job):
    """A job under HTCondor. What is submitted is a description, in which the shell's lines are an argument.

    They are joined to one line: each line of the prologue has to be a command of its own.
    """

    config_name = "htcondor"
    system_name = "htcondor"

    def _check(self, settled: Mapping[str, Any]) -> None:
        super()._check(settled)
        if settled["disk"] is None:
            raise ArgumentError("disk of each job is needed", "say how much, such as disk='1 GB'")

    @property
    def job_header_dict(self) -> dict[str, Any]:
        """The attributes of the submit description, which a derived class may change after `__init__`, too."""
        attributes = self._attributes.refreshed(self._generated())
        return dict(attributes) if "job_header_dict" in hooks.own(type(self), ["job_header_dict"]) else attributes

    @job_header_dict.setter
    def job_header_dict(self, attributes: Mapping[str, Any]) -> None:
        self._attributes.generated = self._generated()
        self._attributes.current = dict(attributes)

    @functools.cached_property
    def _attributes(self) -> _Attributes:
        return _Attributes()

    def _generated(self) -> dict[str, Any]:
        """Return the attributes that follow from the keywords, the job's name, and where it leaves its logs."""
        keywords = self.spec.keywords
        attributes: dict[str, Any] = {
            "MY.DaskWorkerName": '"htcondor--$F(MY.JobId)--"',
            "batch_name": self.name,
            "RequestCpus": "MY.DaskWorkerCores",
            "RequestMemory": "floor(MY.DaskWorkerMemory / 1048576)",
            "RequestDisk": "floor(MY.DaskWorkerDisk / 1024)",
            "MY.JobId": '"$(ClusterId).$(ProcId)"',
            "MY.DaskWorkerCores": self.spec.asked_cores * self.spec.nodes,
            "MY.DaskWorkerMemory": self.worker_memory,
            "MY.DaskWorkerDisk": parse_bytes(keywords["disk"]),
        }
        logs = keywords["log_directory"] or (self.job_range.directory if self.job_range else None)
        if logs:
            attributes |= {
                "LogDirectory": logs,
                "Output": "$(LogDirectory)/worker-$F(MY.JobId).out",
                "Error": "$(LogDirectory)/worker-$F(MY.JobId).err",
                "Log": "$(LogDirectory)/worker-$(ClusterId).log",
                "Stream_Output": True,
                "Stream_Error": True,
            }
        for name in keywords["job_directives_skip"]:
            attributes.pop(name, None)
        return attributes | dict(keywords["job_extra_directives"])

    def _generated_header(self) -> str:
        """Return the attributes, as lines."""
        return "\n".join(f"{name} = {value}" for name, value in self.job_header_dict.items())

    def _headed(self, spec: JobSpec) -> JobSpec:
        return spec  # there are no option lines in it

    @property
    def executable(self) -> str:
        """What runs the job's lines: it gets them after -c, as a shell does."""
        return "/bin/sh"

    def _render(self, spec: JobSpec, job_range: JobRange | None) -> str:
        """Return the submit description for a job."""
        plain = {**spec.keywords, "shebang": "#!/bin/sh"}
        lines = job_script(dataclasses.replace(spec, keywords=plain), job_range).splitlines()[2:]
        # One line for the shell: a comment would swallow the rest; HTCondor takes $( for a macro of its own.
        command = "; ".join(line for line in lines if line and not line.lstrip().startswith("#"))
        command = command.replace("$(", "$(DOLLAR)(")
        return "\n".join(
            [
                spec.keywords["shebang"],
                "",
                self.job_header,
                "",
                f'Arguments = "{quote_arguments(["-c", command])}"',
                f"Executable = {self.executable}",
                "",
            ]
        )


@documented
class HTCondorCluster(JobQueueCluster):
    """HTCondorCluster: workers are jobs under HTCondor."""

    job_cls = HTCondorJob


def quote_arguments(args: str | Sequence[str]) -> str:
    """Return words as HTCondor reads them: https://htcondor.readthedocs.io/en/latest/man-pages/condor_submit.html."""
    words = [args] if isinstance(args, str) else args
    doubled = [word.replace("'", "''").replace('"', '""') for word in words]
    return " ".join(f"'{word}'" if re.search(r"[\s']", word) else word for word in doubled)


def quote_environment(env: Mapping[str, object]) -> str:
    """Return variables as HTCondor's `Environment` has them."""
    return " ".join(f"{name}={quote_arguments(str(value))}" for name, value in env.items())
