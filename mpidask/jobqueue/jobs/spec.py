"""`JobSpec`: what a per-worker job asks for and runs, and its option lines (pure).

The lines are dask-jobqueue's where users know them; what a batch system calls things stands in `batch.systems`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dask.utils import format_bytes, parse_bytes

from mpidask.batch.scripts.job_fields import checked_directives
from mpidask.batch.system import BatchSystem
from mpidask.batch.template import fill, kept, named
from mpidask.errors import ArgumentError, UsageError

__all__ = ["CSH", "SH", "JobRange", "JobSpec", "refuse_lost", "shell", "texts"]

#: Shells that understand the same lines.
SH = ("bash", "sh", "ksh", "zsh", "dash")
CSH = ("csh", "tcsh")


@dataclasses.dataclass(frozen=True)
class JobRange:
    """Where the jobs of a cluster leave their logs, and which of them a script is for.

    first: the number of the job, or of the first one of a job array
    count: how many jobs the array has; None for a job alone
    """

    directory: Path
    first: int
    count: int | None = None


@dataclasses.dataclass(frozen=True)
class JobSpec:
    """What one job asks for and runs. The memory of a worker is in bytes.

    scheduler: the scheduler's address, as Dask has it
    name:      the worker's name; {job} in it is the job's number
    keywords:  as `keywords.settle` returns them
    arguments: further arguments of the worker's command
    command_line: what runs instead of that command
    candidates: the scheduler's addresses, of which the job takes the first that it reaches; () for that one alone
    alone:     whether jobs cannot be submitted together, because each has a script of its own making
    own_header, own_threads, own_memory_limit: what a derived class says instead
    """

    system: BatchSystem
    scheduler: str | None
    name: str | None
    keywords: Mapping[str, Any]
    arguments: tuple[str, ...] = ()
    command_line: str | None = None
    candidates: tuple[str, ...] = ()
    alone: bool = False
    own_header: tuple[str, ...] | None = None
    own_threads: int | None = None
    own_memory_limit: str | None = None

    @property
    def cores(self) -> int:
        """Cores of each node."""
        return int(self.keywords["cores"])

    @property
    def asked_cores(self) -> int:
        """Cores that the batch system is asked for, of each node."""
        return int(self.keywords.get("job_cores") or self.cores)

    @property
    def memory(self) -> int:
        """Memory of each node, in bytes."""
        return int(parse_bytes(self.keywords["memory"]))

    @property
    def nodes(self) -> int:
        """Nodes of the job."""
        return int(self.keywords["nodes"])

    @property
    def ranks(self) -> int:
        """How often the job starts the workers' command."""
        return self.nodes * int(self.keywords["ranks_per_node"])

    @property
    def processes(self) -> int:
        """Workers on each node."""
        wanted = self.keywords["processes"]
        return _processes(self.cores) if wanted is None else int(wanted)

    @property
    def processes_per_rank(self) -> int:
        """Workers that one such command starts; raises ArgumentError if they cannot be divided."""
        per_node = int(self.keywords["ranks_per_node"])
        if self.processes % per_node:
            raise ArgumentError(
                f"{self.processes} processes cannot be divided among {per_node} ranks on each node",
                "make processes a multiple of ranks_per_node",
            )
        return self.processes // per_node

    @property
    def workers(self) -> int:
        """Workers of the job."""
        return self.ranks * self.processes_per_rank

    @property
    def threads(self) -> int:
        """Threads of each worker."""
        return self.own_threads or self.cores // self.processes

    @property
    def memory_limit(self) -> str:
        """Memory of each worker, as its command has it."""
        return self.own_memory_limit or format_bytes(self.memory // self.processes).replace(" ", "")

    @property
    def suffixes(self) -> list[str]:
        """What Dask and we append to the name for each of the job's workers."""
        ranks = [f"-{rank}" for rank in range(self.ranks)] if self.ranks > 1 else [""]
        processes = self.processes_per_rank
        return [f"{rank}-{i}" for rank in ranks for i in range(processes)] if processes > 1 else ranks

    @property
    def further_words(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Further words of the submit and of the cancel command."""
        submit, cancel = (self.keywords.get(f"{name}_command_extra") or () for name in ("submit", "cancel"))
        return tuple(submit), tuple(cancel)

    def header(self, job_range: JobRange | None = None) -> list[str]:
        """Return the option lines with their mark: generated ones less those to skip, then the user's own."""
        if self.own_header is not None:
            return list(self.own_header)
        return self.option_lines(job_range)

    def option_lines(self, job_range: JobRange | None) -> list[str]:
        """Return the option lines, as far as no derived class says what they are."""
        return self._header(self.fields(job_range))

    def _header(self, fields: Mapping[str, object]) -> list[str]:
        mark = self.system.directive
        facts = self.system.workers
        if facts is None or mark is None:
            return []
        lines = [f"{mark} {line}" for line in fill(facts.options, fields)]
        skip = self.keywords["job_directives_skip"]
        lines = [line for line in lines if not any(each in line for each in skip)]
        return lines + [f"{mark} {line}" for line in self.directives]

    @property
    def directives(self) -> list[str]:
        """The user's own option lines; raises ArgumentError for those that make several jobs of one."""
        try:
            return checked_directives(self.system, texts(self.keywords["job_extra_directives"]), self.system.several)
        except UsageError as error:
            raise ArgumentError(error.what, error.remedy) from None

    def arrays(self, job_range: JobRange) -> bool:
        """Whether the header asks for a job array; it may be among the lines to skip."""
        if self.alone or self.own_header is not None:
            return False
        facts = self.system.workers
        fields = self.fields(job_range)
        return bool(facts and facts.index) and self._header(fields) != self._header({**fields, "count": None})

    def fields(self, job_range: JobRange | None) -> dict[str, object]:
        """Return what the system's lines may name."""
        facts = self.system.workers
        assert facts is not None
        several = self.ranks > 1
        per_node = int(self.keywords["ranks_per_node"])
        logs = self.keywords["log_directory"] or (job_range.directory if job_range else None)
        count = job_range.count if job_range else None
        fields: dict[str, object] = {
            **dict.fromkeys(_every_field(self.system)),
            **self.keywords,
            "logs": logs,
            "log_id": facts.log_id if count is None else facts.array_log_id,
            "shell": shell(self.keywords["shebang"]),
            "tasks": None if several else 1,
            "ranks": self.ranks,
            "ranks_per_node": per_node if several else None,
            "cores_per_rank": self.asked_cores // per_node,
            "job_name": str(self.keywords["job_name"])[: self.system.name_limit],
            "cores": self.asked_cores,
            "slots": self.asked_cores * self.nodes,
            "memory": self.memory,
            "job_memory": self.memory * self.nodes,
            "count": count,
        }
        fields["nodes"] = self.nodes
        fields["job_cpu"] = self.keywords.get("job_cpu") or self.asked_cores // per_node
        fields["job_mem"] = self.keywords.get("job_mem") or "".join(fill(["{memory:letter}"], fields))
        ncpus = self.keywords.get("ncpus") or self.asked_cores * self.nodes
        fields |= {
            "ncpus": ncpus,
            "hosts": 1 if ncpus > 1 and not several else None,
            "ptile": self.asked_cores if several else None,
            "lsf_memory": self.keywords.get("lsf_memory"),
            "several_nodes": self.nodes if several else None,
        }
        if facts.resource_spec is not None and fields.get("resource_spec") is None:
            fields["resource_spec"] = fill([facts.resource_spec], fields)[0]
        return fields


def _every_field(system: BatchSystem) -> set[str]:
    facts = system.workers
    lines = [*facts.options, *([facts.resource_spec] if facts.resource_spec else [])] if facts else []
    return named(lines)


def shell(shebang: str, shells: Sequence[str] = (*SH, *CSH)) -> str | None:
    """Return the path of the shell that a first line names, None if it is none of these."""
    words = shebang.removeprefix("#!").split() or ["bash"]
    words = words[1:] if words[0].endswith("/env") else words[:1]  # then come options
    found = next((word for word in words if word.rsplit("/", 1)[-1] in shells), None)
    return found if found is None or found.startswith("/") else f"/bin/{found}"


def texts(values: Any) -> list[str]:
    """Return the lines of a list, or of a mapping (`job_extra_directives={"--qos": "debug"}`)."""
    if isinstance(values, Mapping):
        return [f"{key} {value}".strip() for key, value in values.items()]
    return [str(value) for value in values]


def _processes(cores: int) -> int:
    """Return how many workers `cores` are divided among, as Dask's LocalCluster does it."""
    from distributed.deploy.utils import nprocesses_nthreads

    return int(nprocesses_nthreads(cores)[0])


def refuse_lost(spec: JobSpec) -> None:
    """Raise ArgumentError for nodes, ranks or cores that no line carries, and for lines that cannot be taken."""
    if spec.system.directive is not None:
        _ = spec.directives
        _refuse_lost_cores(spec)
    facts = spec.system.workers
    carried = named(kept(facts.options, spec.fields(None))) if facts else set()
    carriers = {"nodes", "several_nodes", "ptile", "resource_spec", "ranks", "slots"}
    if spec.ranks > 1 and not carriers & carried and not spec.keywords["job_extra_directives"]:
        title = spec.system.title
        raise ArgumentError(
            f"{title} has no option for nodes={spec.nodes}",
            spec.system.unsupported.get("nodes") or "ask for them with job_extra_directives",
        )


def _refuse_lost_cores(spec: JobSpec) -> None:
    """Raise ArgumentError for `job_cores` that change no option line."""
    wanted, facts = spec.keywords.get("job_cores"), spec.system.workers
    if wanted is None or spec.own_header is not None or facts is None or not facts.options:
        return
    others = {**spec.keywords, "job_cores": wanted + int(spec.keywords["ranks_per_node"])}
    if spec.option_lines(None) == dataclasses.replace(spec, keywords=others).option_lines(None):
        raise ArgumentError(
            f"{spec.system.title} would not be asked for job_cores={wanted}: no option line of the jobs depends on it",
            "leave out what says it in other words (resource_spec, job_cpu, ncpus, job_directives_skip); Grid Engine "
            "needs parallel_environment",
        )
