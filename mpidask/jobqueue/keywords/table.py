"""The keywords of the cluster classes: one table for defaults, configuration file and docstrings.

They are dask-jobqueue's, because that is what users type and what stands in their configuration files:
https://jobqueue.dask.org/en/latest/configurations.html.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from mpidask.jobqueue.keywords.values import (
    ATTRIBUTES,
    BYTES,
    COUNT,
    DIRECTIVES,
    INTERVAL,
    LINES,
    MAPPING,
    PORTS,
    RESOURCES,
    SHEBANG,
    SIZE,
    SKIPPED,
    TEXT,
    TIME,
    TRUTH,
    WALLTIME,
    WORDS,
    Kind,
)

__all__ = ["KEYWORDS", "RENAMED", "SECTIONS", "Keyword", "known", "renamed"]

SECTIONS = ("slurm", "pbs", "sge", "lsf", "moab", "htcondor", "oar", "flux", "local")


@dataclasses.dataclass(frozen=True)
class Keyword:
    """One keyword of a cluster class.

    default:  in the configuration file; None leaves it to Dask, the site, or what `help` says
    kind:     what its value may be
    systems:  the batch systems that know it; () for all
    key:      what it is called in the configuration file if not by its own name
    varied:   batch system -> default that differs there
    kinds:    batch system -> kind that differs there
    variable: batch system -> environment variable that counts where neither keyword nor configuration say anything
    """

    name: str
    default: Any
    kind: Kind
    help: str
    systems: tuple[str, ...] = ()
    key: str | None = None
    varied: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    kinds: Mapping[str, Kind] = dataclasses.field(default_factory=dict)
    variable: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def path(self) -> str:
        """The key in the configuration file."""
        return self.key or self.name.replace("_", "-")

    def default_of(self, system: str) -> Any:
        """Return the default in a batch system's section."""
        return self.varied.get(system, self.default)

    def is_for(self, system: str) -> bool:
        """Whether the batch system knows it."""
        return not self.systems or system in self.systems

    def kind_of(self, system: str) -> Kind:
        """Return what its value may be there."""
        return self.kinds.get(system, self.kind)


_QUEUES = ("slurm", "pbs", "sge", "lsf", "moab", "oar", "flux", "local")
_COMMANDS = ("slurm", "pbs", "sge", "lsf", "moab", "htcondor", "oar")
_ACCOUNTS = ("slurm", "pbs", "moab", "flux")
_PROJECTS = ("sge", "lsf", "oar", "local")

_NUMBER = dataclasses.replace(COUNT, optional=False)

KEYWORDS: dict[str, Keyword] = {
    keyword.name: keyword
    for keyword in (
        Keyword("job_name", "dask-worker", TEXT, "The jobs' name.", key="name"),
        Keyword("cores", None, COUNT, "Cores of each job; with `nodes`, of each of its nodes."),
        Keyword("memory", None, SIZE, "Memory of each job, such as '24GB'; with `nodes`, of each of its nodes."),
        Keyword(
            "job_cores",
            None,
            COUNT,
            "Cores to ask of the batch system, of each node, if not `cores`: more for their memory, or fewer.",
        ),
        Keyword("processes", None, COUNT, "Workers in each job. Default: about the square root of the cores."),
        Keyword("nodes", 1, _NUMBER, "Nodes of each job; a launcher starts the workers on all of them."),
        Keyword(
            "ranks_per_node",
            1,
            _NUMBER,
            "How many times on each node the launcher starts workers: `processes` are divided.",
        ),
        Keyword(
            "launcher",
            None,
            TEXT,
            "What starts ranks on several nodes: srun, openmpi, hydra, ... or a line of your own.",
        ),
        Keyword(
            "python", None, TEXT, "The interpreter. Default: the one that runs this program; in a container python3."
        ),
        Keyword("container", None, TEXT, "Run the workers in this image, such as image.sif, which has mpidask."),
        Keyword(
            "container_runtime",
            None,
            TEXT,
            "What runs the image: apptainer, singularity, podman, charliecloud, srun or pyxis, with further options. "
            "Default: the first that is installed here.",
        ),
        Keyword(
            "container_bind",
            [],
            LINES,
            "Further directories of the nodes to show in the container, or HERE:THERE.",
        ),
        Keyword("interface", None, TEXT, "Network interface of workers and scheduler, such as ib0."),
        Keyword(
            "port_range",
            None,
            PORTS,
            "Ports that a firewall lets through, such as 40000:40100: scheduler, dashboard, nannies and workers listen "
            "on these alone.",
        ),
        Keyword("nanny", True, TRUTH, "Whether a nanny restarts each worker that dies."),
        Keyword("death_timeout", 60, TIME, "Seconds after which a worker without a scheduler ends."),
        Keyword("local_directory", None, TEXT, "Where workers spill: fast, on the node, such as $TMPDIR."),
        Keyword(
            "shared_temp_directory",
            None,
            TEXT,
            "Where a directory for key files is made. Default: they are in the cluster's own.",
        ),
        Keyword("worker_command", "distributed.cli.dask_worker", TEXT, "The module that is the worker's command."),
        Keyword("worker_extra_args", [], LINES, "Further arguments of that command."),
        Keyword("resources", None, RESOURCES, "Dask resources of each worker, such as {'GPU': 1}."),
        Keyword(
            "shebang",
            "#!/usr/bin/env bash",
            SHEBANG,
            "First line of the job script.",
            varied={"htcondor": "#!/usr/bin/env condor_submit"},
        ),
        Keyword("queue", None, TEXT, "Queue (Slurm: partition).", _QUEUES),
        Keyword(
            "account",
            None,
            TEXT,
            "Account that pays.",
            _ACCOUNTS,
            variable=dict.fromkeys(("pbs", "moab"), "PBS_ACCOUNT"),
        ),
        Keyword("project", None, TEXT, "Project that pays.", _PROJECTS),
        Keyword(
            "walltime",
            "00:30:00",
            WALLTIME,
            "How long a job may take.",
            _QUEUES,
            varied={"lsf": "00:30", "flux": "30m", "local": None},
        ),
        Keyword(
            "resource_spec",
            None,
            TEXT,
            "What is asked for, in the system's own words.",
            ("pbs", "moab", "sge", "oar", "local"),
        ),
        Keyword("job_cpu", None, COUNT, "Cores to ask for if not `cores`.", ("slurm",)),
        Keyword("job_mem", None, TEXT, "Memory to ask for if not `memory`.", ("slurm",)),
        Keyword("ncpus", None, COUNT, "Cores to ask for if not `cores`.", ("lsf",)),
        Keyword("mem", None, BYTES, "Memory to ask for, in bytes, if not `memory`.", ("lsf",)),
        Keyword(
            "lsf_units", None, TEXT, "LSF_UNIT_FOR_LIMITS of the site. Default: as lsf.conf says, else KB.", ("lsf",)
        ),
        Keyword("use_stdin", True, TRUTH, "Whether bsub reads the script on stdin, or is given its path.", ("lsf",)),
        Keyword("disk", None, SIZE, "Disk space of each job, such as '1 GB'.", ("htcondor",)),
        Keyword("submit_command_extra", [], WORDS, "Further words of the submit command.", _COMMANDS),
        Keyword("cancel_command_extra", [], WORDS, "Further words of the cancel command.", _COMMANDS),
        Keyword(
            "memory_per_core_property_name",
            None,
            TEXT,
            "OAR's property for memory per core, which sites name; 'not_applicable' to say nothing about memory.",
            ("oar",),
        ),
        Keyword(
            "parallel_environment",
            None,
            TEXT,
            "Grid Engine's parallel environment, for jobs of several slots.",
            ("sge",),
        ),
        Keyword(
            "job_extra_directives",
            [],
            DIRECTIVES,
            "Further option lines, verbatim.",
            varied={"htcondor": {}},
            kinds={"htcondor": ATTRIBUTES},
        ),
        Keyword("job_directives_skip", [], SKIPPED, "Generated option lines that contain one of these are left out."),
        Keyword("job_script_prologue", [], LINES, "Shell lines before the worker's."),
        Keyword("job_script_epilogue", [], LINES, "Shell lines after the worker's."),
        Keyword(
            "log_directory", None, TEXT, "Where the batch system leaves its logs. Default: the cluster's own directory."
        ),
        Keyword(
            "lifetime_margin",
            None,
            TIME,
            "How long before the walltime workers hand over their data and end; 0: not at all. "
            "Default: a tenth of the walltime, at most 5 minutes.",
        ),
        Keyword(
            "max_failures",
            3,
            _NUMBER,
            "After so many jobs in a row whose workers never came or died soon, no more are submitted.",
        ),
        Keyword("poll_interval", "3 s", INTERVAL, "How often at most the batch system is asked about jobs."),
        Keyword("scheduler_options", {}, MAPPING, "Arguments of Dask's scheduler, such as {'port': 8786}."),
        Keyword("profile", None, TEXT, "The profile of a site, such as leonardo: it counts where nothing else does."),
    )
}

#: dask-jobqueue's old names -> today's.
RENAMED = {
    "extra": "worker_extra_args",
    "env_extra": "job_script_prologue",
    "header_skip": "job_directives_skip",
    "job_extra": "job_extra_directives",
}


def renamed(system: str) -> dict[str, str]:
    """Return old name -> today's, as a batch system has them."""
    return RENAMED | ({"project": "account"} if system in ("slurm", "pbs", "moab") else {})


def known(system: str) -> Iterator[Keyword]:
    """Yield the keywords that a batch system knows."""
    return (keyword for keyword in KEYWORDS.values() if keyword.is_for(system))
