"""The keywords of the cluster classes: one table, from which come defaults, configuration file and docstrings.

They are dask-jobqueue's, because that is what users type and what stands in their configuration files:
https://jobqueue.dask.org/en/latest/configurations.html.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from mpidask.errors import ArgumentError

__all__ = ["KEYWORDS", "RENAMED", "Keyword", "configured", "defaults", "document", "known", "settle", "template"]

SECTIONS = ("slurm", "pbs", "sge", "lsf", "moab", "htcondor", "oar", "flux", "local")


@dataclasses.dataclass(frozen=True)
class Keyword:
    """One keyword of a cluster class.

    default: in the configuration file; None leaves it to Dask, the site, or what `help` says
    systems: the batch systems that know it; () for all
    key:     what it is called in the configuration file if not by its own name
    varied:  batch system -> default that differs there
    """

    name: str
    default: Any
    help: str
    systems: tuple[str, ...] = ()
    key: str | None = None
    varied: Mapping[str, Any] = dataclasses.field(default_factory=dict)

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


_QUEUES = ("slurm", "pbs", "sge", "lsf", "moab", "oar", "flux", "local")
_COMMANDS = ("slurm", "pbs", "sge", "lsf", "moab", "htcondor", "oar")
_ACCOUNTS = ("slurm", "pbs", "moab", "flux")
_PROJECTS = ("sge", "lsf", "oar", "local")

KEYWORDS: dict[str, Keyword] = {
    keyword.name: keyword
    for keyword in (
        Keyword("job_name", "dask-worker", "The jobs' name.", key="name"),
        Keyword("cores", None, "Cores of each job; with `nodes`, of each of its nodes."),
        Keyword("memory", None, "Memory of each job, such as '24GB'; with `nodes`, of each of its nodes."),
        Keyword("processes", None, "Workers in each job. Default: about the square root of the cores."),
        Keyword("nodes", 1, "Nodes of each job; a launcher starts the workers on all of them."),
        Keyword(
            "ranks_per_node", 1, "How many times on each node the launcher starts workers: `processes` are divided."
        ),
        Keyword(
            "launcher", None, "What starts ranks on several nodes: srun, openmpi, hydra, ... or a line of your own."
        ),
        Keyword("python", None, "The interpreter. Default: the one that runs this program."),
        Keyword("interface", None, "Network interface of workers and scheduler, such as ib0."),
        Keyword("nanny", True, "Whether a nanny restarts each worker that dies."),
        Keyword("death_timeout", 60, "Seconds after which a worker without a scheduler ends."),
        Keyword("local_directory", None, "Where workers spill: fast, on the node, such as $TMPDIR."),
        Keyword(
            "shared_temp_directory",
            None,
            "Where a directory for key files is made. Default: they are in the cluster's own.",
        ),
        Keyword("worker_command", "distributed.cli.dask_worker", "The module that is the worker's command."),
        Keyword("worker_extra_args", [], "Further arguments of that command."),
        Keyword("resources", None, "Dask resources of each worker, such as {'GPU': 1}."),
        Keyword(
            "shebang",
            "#!/usr/bin/env bash",
            "First line of the job script.",
            varied={"htcondor": "#!/usr/bin/env condor_submit"},
        ),
        Keyword("queue", None, "Queue (Slurm: partition).", _QUEUES),
        Keyword("account", None, "Account that pays.", _ACCOUNTS),
        Keyword("project", None, "Project that pays.", _PROJECTS),
        Keyword(
            "walltime",
            "00:30:00",
            "How long a job may take.",
            _QUEUES,
            varied={"lsf": "00:30", "flux": "30m", "local": None},
        ),
        Keyword(
            "resource_spec",
            None,
            "What is asked for, in the system's own words.",
            ("pbs", "moab", "sge", "oar", "local"),
        ),
        Keyword("job_cpu", None, "Cores to ask for if not `cores`.", ("slurm",)),
        Keyword("job_mem", None, "Memory to ask for if not `memory`.", ("slurm",)),
        Keyword("ncpus", None, "Cores to ask for if not `cores`.", ("lsf",)),
        Keyword("mem", None, "Memory to ask for, in bytes, if not `memory`.", ("lsf",)),
        Keyword("lsf_units", None, "LSF_UNIT_FOR_LIMITS of the site. Default: as lsf.conf says, else KB.", ("lsf",)),
        Keyword("use_stdin", True, "Whether bsub reads the script on stdin, or is given its path.", ("lsf",)),
        Keyword("disk", None, "Disk space of each job, such as '1 GB'.", ("htcondor",)),
        Keyword("submit_command_extra", [], "Further words of the submit command.", _COMMANDS),
        Keyword("cancel_command_extra", [], "Further words of the cancel command.", _COMMANDS),
        Keyword(
            "memory_per_core_property_name",
            None,
            "OAR's property for memory per core, which sites name; 'not_applicable' to say nothing about memory.",
            ("oar",),
        ),
        Keyword(
            "parallel_environment", None, "Grid Engine's parallel environment, for jobs of several slots.", ("sge",)
        ),
        Keyword("job_extra_directives", [], "Further option lines, verbatim.", varied={"htcondor": {}}),
        Keyword("job_directives_skip", [], "Generated option lines that contain one of these are left out."),
        Keyword("job_script_prologue", [], "Shell lines before the worker's."),
        Keyword("job_script_epilogue", [], "Shell lines after the worker's."),
        Keyword("log_directory", None, "Where the batch system leaves its logs. Default: the cluster's own directory."),
        Keyword(
            "lifetime_margin",
            None,
            "How long before the walltime workers hand over their data and end; 0: not at all. "
            "Default: a tenth of the walltime, at most 5 minutes.",
        ),
        Keyword("max_failures", 3, "After so many jobs in a row whose workers never came, no more are submitted."),
        Keyword("poll_interval", "3 s", "How often at most the batch system is asked about jobs."),
        Keyword("scheduler_options", {}, "Arguments of Dask's scheduler, such as {'port': 8786}."),
    )
}

#: dask-jobqueue's old names -> today's.
RENAMED = {
    "extra": "worker_extra_args",
    "env_extra": "job_script_prologue",
    "header_skip": "job_directives_skip",
    "job_extra": "job_extra_directives",
}


def known(system: str) -> Iterator[Keyword]:
    """Yield the keywords that a batch system knows."""
    return (keyword for keyword in KEYWORDS.values() if keyword.is_for(system))


def defaults() -> dict[str, Any]:
    """Return the section ``jobqueue`` of the configuration: batch system -> key -> default."""
    return {system: {each.path: each.default_of(system) for each in known(system)} for system in SECTIONS}


def template() -> str:
    """Return the file ``jobqueue.yaml`` with these defaults, each with its explanation."""
    import yaml

    lines = ["jobqueue:"]
    for system in SECTIONS:
        lines.append(f"  {system}:")
        for each in known(system):
            value = yaml.safe_dump(each.default_of(system), default_flow_style=True).splitlines()[0]
            lines.append(f"    {each.path}: {value}  # {each.help}")
        lines.append("")
    return "\n".join(lines)


def configured(section: str, keyword: Keyword, system: str) -> Any:
    """Return a keyword's value in the section of dask.config, its default if it stands there not at all.

    section: which section; the batch system's own, or that of ``config_name``
    """
    import dask.config

    return dask.config.get(f"jobqueue.{section}.{keyword.path}", default=keyword.default_of(system))


def settle(system: str, section: str, given: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """Return keyword -> value: given ones (None counts as not given), else the configuration's.

    owner: name of the class, for messages
    Raises ArgumentError for a keyword that the batch system does not know.
    """
    given = _renamed(section, _account(system, section, given))
    _refuse_unknown(system, given, owner)
    return {
        each.name: given[each.name] if given.get(each.name) is not None else configured(section, each, system)
        for each in known(system)
    }


def _refuse_unknown(system: str, given: Mapping[str, Any], owner: str) -> None:
    names = [each.name for each in known(system)]
    for name in given:
        if name not in names:
            close = difflib.get_close_matches(name, names, 3)
            arguments = ", ".join(f"{key}={value!r}" for key, value in given.items())
            raise ArgumentError(
                f"unexpected keyword argument {name!r} of {owner}; job_kwargs: {arguments}",
                f"did you mean {' or '.join(close)}?" if close else f"there are: {', '.join(names)}",
            )


def _renamed(section: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords under today's names; an old one, here or in the configuration, warns and counts last."""
    import dask.config

    result = {name: value for name, value in given.items() if name not in RENAMED}
    for old, new in RENAMED.items():
        value = given.get(old)
        if value is None:
            value = dask.config.get(f"jobqueue.{section}.{old.replace('_', '-')}", default=None)
        if value is None:
            continue
        _warn(old, new)
        current = result.get(new)
        if current is None:
            current = dask.config.get(f"jobqueue.{section}.{KEYWORDS[new].path}", default=None)
        if not current:
            result[new] = value
    return result


def _account(system: str, section: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords with `project`, where that is an old name, as `account`."""
    import dask.config

    result = dict(given)
    if system not in ("slurm", "pbs", "moab"):
        return result
    project = result.pop("project", None)
    if project is None:
        project = dask.config.get(f"jobqueue.{section}.project", default=None)
    if project is not None:
        _warn("project", "account")
        account = result.get("account")
        if account is None:
            account = dask.config.get(f"jobqueue.{section}.account", default=None)
        if account is None and system != "slurm":
            account = os.environ.get("PBS_ACCOUNT")
        result["account"] = account or project
    return result


def _warn(old: str, new: str) -> None:
    warnings.warn(f"{old} has been renamed to {new}: it is used where {new} is not set", FutureWarning, stacklevel=6)


def document(system: str) -> str:
    """Return the parameters of a cluster class for its docstring."""
    width = "    "
    return "\n".join(f"{width}{each.name} :\n{width}{width}{each.help}" for each in known(system))
