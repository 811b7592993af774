"""The keywords of the cluster classes: one table for defaults, configuration file and docstrings.

They are dask-jobqueue's, because that is what users type and what stands in their configuration files:
https://jobqueue.dask.org/en/latest/configurations.html.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import difflib
import inspect
import os
import textwrap
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from mpidask import docstrings
from mpidask.batch.settings import stands_in
from mpidask.errors import ArgumentError
from mpidask.jobqueue.keywords.values import (
    ATTRIBUTES,
    BYTES,
    COUNT,
    DIRECTIVES,
    INTERVAL,
    LINES,
    MAPPING,
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
    UnfitError,
)

__all__ = [
    "KEYWORDS",
    "RENAMED",
    "Keyword",
    "defaults",
    "document",
    "entries",
    "known",
    "once",
    "read",
    "renamed",
    "settle",
    "settle_one",
    "template",
    "warn",
]

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
        Keyword("python", None, TEXT, "The interpreter. Default: the one that runs this program."),
        Keyword("interface", None, TEXT, "Network interface of workers and scheduler, such as ib0."),
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


@dataclasses.dataclass(frozen=True)
class Found:
    """A value, and where it stands: for messages."""

    value: Any
    where: str


@dataclasses.dataclass(frozen=True)
class Source:
    """Where values are looked for: given ones, then those of a class, the configuration, the environment.

    system:  the batch system
    section: section of the configuration; the batch system's own, or that of ``config_name``
    owner:   name of the cluster class
    given:   name -> value; None counts as not given
    classed: name -> value that a derived class sets
    """

    system: str
    section: str
    owner: str
    given: Mapping[str, Any]
    classed: Mapping[str, Found] = dataclasses.field(default_factory=dict)

    def look(self, keyword: Keyword) -> Found | None:
        """Return what is said about a keyword by its name of today."""
        found = self._said(keyword.name, keyword.path)
        variable = keyword.variable.get(self.system)
        if (found is None or found.value is None) and variable is not None and os.environ.get(variable):
            return Found(os.environ[variable], f"{variable} in the environment")
        return found

    def look_back(self, old: str) -> Found | None:
        """Return what is said by an old name."""
        found = self._said(old, old.replace("_", "-"))
        return None if found is None or found.value is None else found

    def _said(self, name: str, key: str) -> Found | None:
        if self.given.get(name) is not None:
            return Found(self.given[name], f"argument of {self.owner}")
        if name in self.classed:
            return self.classed[name]
        return _configured(self.section, key)


def _configured(section: str, key: str) -> Found | None:
    import dask.config

    missing = object()
    value = dask.config.get(f"jobqueue.{section}.{key}", default=missing)
    if value is missing:
        return None
    return Found(value, f"jobqueue.{section}.{key}")


def _check_section(section: str) -> None:
    import dask.config

    for path in (("jobqueue",), ("jobqueue", section)):
        found = dask.config.get(".".join(path), default=None)
        if not isinstance(found, Mapping | None):
            raise ArgumentError(
                f"{'.'.join(path)} is {found!r} ({stands_in(*path) or 'configuration'})", "a mapping is needed there"
            )


def settle(
    system: str, section: str, given: Mapping[str, Any], owner: str, classed: Mapping[str, Found] | None = None
) -> dict[str, Any]:
    """Return keyword -> value: given ones (None counts as not given), else the class's, else the configuration's.

    owner:   name of the class, for messages
    classed: what a derived class sets
    Raises ArgumentError for a keyword that the batch system does not know, or a value that cannot be used.
    """
    _check_section(section)
    source = Source(system, section, owner, given, classed or {})
    _refuse_unknown(system, given, owner)
    found = {each.name: source.look(each) for each in known(system)}
    for old, new in renamed(system).items():
        former = source.look_back(old)
        if former is None:
            continue
        warn(
            f"{old} has been renamed to {new}: it is used where {new} is not set ({_place(former.where)})",
            FutureWarning,
        )
        current = found[new]
        if current is None or not current.value:
            found[new] = former
    return {name: read(KEYWORDS[name], system, value) for name, value in found.items()}


def settle_one(system: str, section: str, name: str, given: Any, owner: str) -> Any:
    """Return the value of one keyword as `settle` does."""
    _check_section(section)
    keyword = KEYWORDS[name]
    return read(keyword, system, Source(system, section, owner, {name: given}).look(keyword))


def read(keyword: Keyword, system: str, found: Found | None) -> Any:
    """Return a value as the jobs need it, the default for none; raises ArgumentError if it cannot be used."""
    kind = keyword.kind_of(system)
    value = keyword.default_of(system) if found is None else found.value
    if value is None and not kind.optional:
        value = keyword.default_of(system)
    if value is None:
        return None
    try:
        return kind.read(value)
    except UnfitError as error:
        where = _place(found.where) if found is not None else "its default"
        what = f"{keyword.name} is {value!r} ({where})"
        raise ArgumentError(
            f"{what}: {error.why}" if error.why else what,
            f"{kind.expected} is needed; {error.hint}" if error.hint else f"{kind.expected} is needed",
        ) from None


def _place(where: str) -> str:
    """Return where a value stands; for a key of the configuration with its file."""
    if not where.startswith("jobqueue."):
        return where
    file = stands_in(*where.split("."))
    return f"{where} in {file}" if file else f"{where} in dask.config"


def _refuse_unknown(system: str, given: Mapping[str, Any], owner: str) -> None:
    names = [each.name for each in known(system)]
    for name in given:
        if name not in names and name not in renamed(system):
            close = difflib.get_close_matches(name, names, 3)
            arguments = ", ".join(f"{key}={value!r}" for key, value in given.items())
            raise ArgumentError(
                f"unexpected keyword argument {name!r} of {owner}; job_kwargs: {arguments}",
                f"did you mean {' or '.join(close)}?" if close else f"there are: {', '.join(names)}",
            )


#: What a cluster has warned of already, while it makes a job.
_said: contextvars.ContextVar[set[str] | None] = contextvars.ContextVar("said", default=None)


@contextlib.contextmanager
def once(said: set[str]) -> Iterator[None]:
    """Give each warning once: `said` holds those that have been given."""
    token = _said.set(said)
    try:
        yield
    finally:
        _said.reset(token)


def warn(text: str, category: type[Warning]) -> None:
    """Warn at the line of the user's program: the innermost one that is neither ours nor Dask's."""
    said = _said.get()
    if said is not None:
        if text in said:
            return
        said.add(text)
    frame, level = inspect.currentframe(), 1
    while frame is not None and _is_library(frame.f_globals.get("__name__", "")):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, category, stacklevel=level)


def _is_library(module: str) -> bool:
    # skip_file_prefixes of warnings.warn does this from Python 3.12 on.
    return module.split(".", maxsplit=1)[0] in ("mpidask", "dask", "distributed")


def document(system: str) -> str:
    """Return the keywords of a batch system for the docstring of a class, indented as that is."""
    return textwrap.indent("\n".join(entries(system)), "    ")


def entries(system: str) -> list[str]:
    """Return the keywords of a batch system, each as numpydoc has it."""
    return [
        docstrings.entry(each.name, f"{each.kind_of(system).expected.rstrip(',')}, optional", each.help)
        for each in known(system)
    ]
