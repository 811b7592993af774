"""The cluster class of each batch system, and what its jobs need beyond the declared lines."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dask.utils import parse_bytes

from mpidask import docstrings
from mpidask.errors import ArgumentError
from mpidask.jobqueue.cluster.job_queue_cluster import JobQueueCluster
from mpidask.jobqueue.jobs import hooks
from mpidask.jobqueue.jobs.job import Job
from mpidask.jobqueue.jobs.spec import Description, Place
from mpidask.jobqueue.keywords.table import entries, warn

__all__ = [
    "FluxCluster",
    "FluxJob",
    "HTCondorCluster",
    "HTCondorJob",
    "LSFCluster",
    "LSFJob",
    "LocalJob",
    "LocalJobCluster",
    "MoabCluster",
    "MoabJob",
    "OARCluster",
    "OARJob",
    "PBSCluster",
    "PBSJob",
    "SGECluster",
    "SGEJob",
    "SLURMCluster",
    "SLURMJob",
]


_UNITS = list("kmgtpez")


class SLURMJob(Job):
    """A job under Slurm."""

    config_name = "slurm"
    system_name = "slurm"


class PBSJob(Job):
    """A job under PBS, or Torque."""

    config_name = "pbs"
    system_name = "pbs"


class MoabJob(PBSJob):
    """A job under Moab."""

    config_name = "moab"
    system_name = "moab"


class SGEJob(Job):
    """A job under Grid Engine."""

    config_name = "sge"
    system_name = "sge"


class LSFJob(Job):
    """A job under LSF."""

    config_name = "lsf"
    system_name = "lsf"

    def prepared(self, settled: dict[str, Any]) -> Mapping[str, Any]:
        """Return the keywords, with the memory in the unit in which the site counts it.

        Parameters
        ----------
        settled : dict
            Keyword -> value.

        Returns
        -------
        mapping
            The same, with ``lsf_memory``.

        Raises
        ------
        ArgumentError
            ``lsf_units`` is no unit of LSF's.
        """
        unit = (settled["lsf_units"] or lsf_detect_units()).lower()[:1]
        if unit not in _UNITS:
            raise ArgumentError(
                f"lsf_units is {settled['lsf_units']!r}", "one of kb, mb, gb, tb, pb, eb, zb is needed there"
            )
        size = settled["mem"] or parse_bytes(settled["memory"])
        return super().prepared({**settled, "lsf_memory": lsf_format_bytes_ceil(size, unit)})

    def submit_words(self, words: tuple[str, ...], script: Path) -> tuple[str, ...]:
        """Return the words of bsub, with the script's path if it is not to come on stdin.

        Parameters
        ----------
        words : tuple of str
            The command as the file of LSF has it.
        script : Path
            The job script.

        Returns
        -------
        tuple of str
            The words to run.
        """
        return words if self.use_stdin else (*words, str(script))

    @property
    def use_stdin(self) -> bool:
        """Whether bsub reads the script on stdin."""
        return bool(self.description.keywords["use_stdin"])


class OARJob(Job):
    """A job under OAR."""

    config_name = "oar"
    system_name = "oar"

    def prepared(self, settled: dict[str, Any]) -> Mapping[str, Any]:
        """Return the keywords; a request for memory becomes a property, of which OAR reads one line.

        Parameters
        ----------
        settled : dict
            Keyword -> value.

        Returns
        -------
        mapping
            The same, with the line for memory among the directives.
        """
        wanted = settled["memory_per_core_property_name"]
        directives = list(settled["job_extra_directives"])
        if wanted is None:
            warn(
                "OAR is not told about the memory of jobs: sites name the property; see memory_per_core_property_name",
                UserWarning,
            )
        elif wanted != "not_applicable":
            each = math.ceil(parse_bytes(settled["memory"]) / settled["cores"] / 2**20)
            last = next((line for line in reversed(directives) if line.startswith("-p ")), None)
            asked = f"{wanted}>={each}"
            directives.append(f"-p '{last.removeprefix('-p ')} AND {asked}'" if last else f"-p {asked}")
        return super().prepared({**settled, "job_extra_directives": directives})


class FluxJob(Job):
    """A job under Flux."""

    config_name = "flux"
    system_name = "flux"


class LocalJob(Job):
    """A job on this machine, without a batch system."""

    config_name = "local"
    system_name = "local"
    cluster_name = "LocalJobCluster"


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
        keywords = self.description.keywords
        attributes: dict[str, Any] = {
            "MY.DaskWorkerName": '"htcondor--$F(MY.JobId)--"',
            "batch_name": self.name,
            "RequestCpus": "MY.DaskWorkerCores",
            "RequestMemory": "floor(MY.DaskWorkerMemory / 1048576)",
            "RequestDisk": "floor(MY.DaskWorkerDisk / 1024)",
            "MY.JobId": '"$(ClusterId).$(ProcId)"',
            "MY.DaskWorkerCores": self.worker_cores,
            "MY.DaskWorkerMemory": self.worker_memory,
            "MY.DaskWorkerDisk": parse_bytes(keywords["disk"]),
        }
        logs = keywords["log_directory"] or (self.place.directory if self.place else None)
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

    def _headed(self, description: Description) -> Description:
        return description  # there are no option lines in it

    @property
    def executable(self) -> str:
        """What runs the job's lines: it gets them after -c, as a shell does."""
        return "/bin/sh"

    def _render(self, description: Description, place: Place | None) -> str:
        """Return the submit description for a job's description."""
        plain = {**description.keywords, "shebang": "#!/bin/sh"}
        lines = dataclasses.replace(description, keywords=plain).script(place).splitlines()[2:]
        # One line for the shell: a comment would swallow the rest; HTCondor takes $( for a macro of its own.
        command = "; ".join(line for line in lines if line and not line.lstrip().startswith("#"))
        command = command.replace("$(", "$(DOLLAR)(")
        return "\n".join(
            [
                description.keywords["shebang"],
                "",
                self.job_header,
                "",
                f'Arguments = "{quote_arguments(["-c", command])}"',
                f"Executable = {self.executable}",
                "",
            ]
        )


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


def quote_arguments(args: str | Sequence[str]) -> str:
    """Return words as HTCondor reads them: https://htcondor.readthedocs.io/en/latest/man-pages/condor_submit.html."""
    words = [args] if isinstance(args, str) else args
    doubled = [word.replace("'", "''").replace('"', '""') for word in words]
    return " ".join(f"'{word}'" if re.search(r"[\s']", word) else word for word in doubled)


def quote_environment(env: Mapping[str, object]) -> str:
    """Return variables as HTCondor's `Environment` has them."""
    return " ".join(f"{name}={quote_arguments(str(value))}" for name, value in env.items())


def lsf_format_bytes_ceil(n: float, lsf_units: str = "mb") -> str:
    """Return bytes in a unit of LSF's (kb, mb, ... by the first letter; 1000 bytes are a kb), rounded up."""
    return str(math.ceil(n / 1000 ** (_UNITS.index(lsf_units.lower()[:1]) + 1)))


def lsf_detect_units() -> str:
    """Return the unit in which LSF counts memory here: https://www.ibm.com/docs/en/spectrum-lsf/10.1.0?topic=lsfconf-lsf-unit-limits."""
    directory = os.environ.get("LSF_ENVDIR") or os.environ.get("LSF_CONFDIR") or "/etc"
    try:
        text = (Path(directory) / "lsf.conf").read_text(errors="replace")
    except OSError:
        return "kb"
    found = re.findall(r"^\s*LSF_UNIT_FOR_LIMITS\s*=\s*\"?(\w+)", text, re.MULTILINE)
    return found[-1].lower() if found else "kb"


class SLURMCluster(JobQueueCluster):
    """SLURMCluster: workers are jobs under Slurm."""

    job_cls = SLURMJob


class PBSCluster(JobQueueCluster):
    """PBSCluster: workers are jobs under PBS (OpenPBS, PBS Pro) or Torque."""

    job_cls = PBSJob


class MoabCluster(JobQueueCluster):
    """MoabCluster: workers are jobs under Moab."""

    job_cls = MoabJob


class SGECluster(JobQueueCluster):
    """SGECluster: workers are jobs under Grid Engine (SGE)."""

    job_cls = SGEJob


class LSFCluster(JobQueueCluster):
    """LSFCluster: workers are jobs under LSF."""

    job_cls = LSFJob


class OARCluster(JobQueueCluster):
    """OARCluster: workers are jobs under OAR."""

    job_cls = OARJob


class FluxCluster(JobQueueCluster):
    """FluxCluster: workers are jobs under Flux."""

    job_cls = FluxJob


class HTCondorCluster(JobQueueCluster):
    """HTCondorCluster: workers are jobs under HTCondor."""

    job_cls = HTCondorJob


class LocalJobCluster(JobQueueCluster):
    """LocalJobCluster: workers are jobs on this machine: the same as with a batch system, on a laptop."""

    job_cls = LocalJob


def _documented(kind: type[JobQueueCluster], jobs: type[Job]) -> str:
    """Return the docstring of a cluster class: its own line, what all of them take, and the keywords of its jobs."""
    own, general = inspect.cleandoc(kind.__doc__ or ""), inspect.cleandoc(JobQueueCluster.__doc__ or "")
    text = "\n\n".join([own, *general.split("\n\n")[1:]])
    section = ["Other Parameters", "----------------", *entries(jobs.native_name()), ""]
    return docstrings.with_entries(text, section, before="Raises")


for _each in JobQueueCluster.__subclasses__():
    if _each.job_cls is not None and _each.__module__ == __name__:
        _each.__doc__ = _documented(_each, _each.job_cls)
