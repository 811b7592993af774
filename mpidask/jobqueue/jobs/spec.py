"""A per-worker job before it is submitted: option lines, worker command and job script (pure).

The lines are dask-jobqueue's where users know them; what a batch system calls things stands in `batch.systems`.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dask.utils import format_bytes, parse_bytes

from mpidask import quantities, run_directory
from mpidask.batch.job import Job, Resources
from mpidask.batch.scripts.job_fields import checked_directives, fields_of
from mpidask.batch.scripts.job_script import launch
from mpidask.batch.settings import launcher
from mpidask.batch.system import BatchSystem
from mpidask.batch.template import fill, kept, named
from mpidask.errors import ArgumentError, UsageError

__all__ = ["Description", "Place", "refuse_lost", "texts", "walltime_seconds"]

_WORKER = "distributed.cli.dask_worker"
_OURS = "mpidask.jobqueue.worker"  # the same command, where there is mpidask and TLS
#: Shells that understand the same lines.
_SH = ("bash", "sh", "ksh", "zsh", "dash")
_CSH = ("csh", "tcsh")
#: A rank's number, whatever has started it; srun's last, because a job script under Slurm has one, too.
_RANK = "${PMI_RANK:-${OMPI_COMM_WORLD_RANK:-${PMIX_RANK:-${FLUX_TASK_RANK:-${SLURM_PROCID:-0}}}}}"


@dataclasses.dataclass(frozen=True)
class Place:
    """Where the jobs of a cluster leave their logs, and which of them a script is for.

    first: the number of the job, or of the first one of a job array
    count: how many jobs the array has; None for a job alone
    """

    directory: Path
    first: int
    count: int | None = None


@dataclasses.dataclass(frozen=True)
class Description:
    """What one job asks for and runs. The memory of a worker is in bytes.

    scheduler: the scheduler's address
    name:      the worker's name; {job} in it is the job's number
    keywords:  as `keywords.settle` returns them
    arguments: further arguments of the worker's command
    command_line: what runs instead of that command
    alone:     whether jobs cannot be submitted together, because each has a script of its own making
    own_header, own_threads, own_memory_limit: what a derived class says instead
    """

    system: BatchSystem
    scheduler: str | None
    name: str | None
    keywords: Mapping[str, Any]
    arguments: tuple[str, ...] = ()
    command_line: str | None = None
    alone: bool = False
    own_header: tuple[str, ...] | None = None
    own_threads: int | None = None
    own_memory_limit: str | None = None

    @property
    def cores(self) -> int:
        """Cores of each node."""
        return int(self.keywords["cores"])

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

    def header(self, place: Place | None = None) -> list[str]:
        """Return the option lines with their mark: generated ones less those to skip, then the user's own."""
        if self.own_header is not None:
            return list(self.own_header)
        return self._header(self.fields(place))

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

    def arrays(self, place: Place) -> bool:
        """Whether the header asks for a job array; it may be among the lines to skip."""
        if self.alone or self.own_header is not None:
            return False
        facts = self.system.workers
        fields = self.fields(place)
        return bool(facts and facts.index) and self._header(fields) != self._header({**fields, "count": None})

    def fields(self, place: Place | None) -> dict[str, object]:
        """Return what the system's lines may name."""
        facts = self.system.workers
        assert facts is not None
        several = self.ranks > 1
        per_node = int(self.keywords["ranks_per_node"])
        logs = self.keywords["log_directory"] or (place.directory if place else None)
        count = place.count if place else None
        fields: dict[str, object] = {
            **dict.fromkeys(_every_field(self.system)),
            **self.keywords,
            "logs": logs,
            "log_id": facts.log_id if count is None else facts.array_log_id,
            "shell": _shell(self.keywords["shebang"]),
            "tasks": None if several else 1,
            "ranks": self.ranks,
            "ranks_per_node": per_node if several else None,
            "cores_per_rank": self.cores // per_node,
            "job_name": str(self.keywords["job_name"])[: self.system.name_limit],
            "cores": self.cores,
            "slots": self.cores * self.nodes,
            "memory": self.memory,
            "job_memory": self.memory * self.nodes,
            "count": count,
        }
        fields["nodes"] = self.nodes
        fields["job_cpu"] = self.keywords.get("job_cpu") or self.cores // per_node
        fields["job_mem"] = self.keywords.get("job_mem") or "".join(fill(["{memory:letter}"], fields))
        ncpus = self.keywords.get("ncpus") or self.cores * self.nodes
        fields |= {
            "ncpus": ncpus,
            "hosts": 1 if ncpus > 1 and not several else None,
            "ptile": self.cores if several else None,
            "lsf_memory": self.keywords.get("lsf_memory"),
            "several_nodes": self.nodes if several else None,
        }
        if facts.resource_spec is not None and fields.get("resource_spec") is None:
            fields["resource_spec"] = fill([facts.resource_spec], fields)[0]
        return fields

    def command(self, name: str | None = None, processes: int | None = None) -> str:
        """Return the worker's command line, for the shell: what the user gives may name variables of the node."""
        if self.command_line is not None:
            return self.command_line
        keywords = self.keywords
        processes = self.processes_per_rank if processes is None else processes
        words = [
            keywords["python"],
            "-m",
            self._module,
            self.scheduler,
            "--name",
            self.name if name is None else name,
            "--nthreads",
            self.threads,
            "--memory-limit",
            self.memory_limit,
        ]
        if self._is_dask_s:
            words += ["--nworkers", processes] if processes > 1 else []
            words += ["--nanny" if keywords["nanny"] else "--no-nanny"]
        for option in ("death_timeout", "local_directory"):
            if keywords[option] not in (None, ""):
                words += [f"--{option.replace('_', '-')}", keywords[option]]
        words += texts(keywords["worker_extra_args"])
        if keywords["resources"]:
            words += ["--resources", shlex.quote(",".join(f"{name}={n}" for name, n in keywords["resources"].items()))]
        return " ".join(map(str, [*words, *self._pages(words), *self.arguments, *self._lifetime(words)]))

    @property
    def _is_dask_s(self) -> bool:
        """Whether the worker's command is Dask's own."""
        return (self.keywords["worker_command"] or _WORKER) == _WORKER

    @property
    def _module(self) -> str:
        """The module that is the worker's command; with an interpreter of the user's choice there may be only Dask."""
        ours = self._is_dask_s and self.keywords["python"] == sys.executable
        needed = any(word.startswith("--tls-") for word in self.arguments) or self.system.name == "local"
        return _OURS if ours and needed else str(self.keywords["worker_command"] or _WORKER)

    def _pages(self, words: Iterable[object]) -> list[str]:
        """Return the arguments that leave out workers' dashboards, which other users of the node could look at."""
        if not self._is_dask_s or any(re.match(r"--(no-)?dashboard", str(word)) for word in words):
            return []
        return ["--no-dashboard", "--dashboard-address", "127.0.0.1:0"]

    def _lifetime(self, words: Iterable[object]) -> list[str]:
        """Return the arguments that let workers hand over their data before the walltime ends them."""
        if not self._is_dask_s or any(re.match(r"--lifetime(=|\s|$)", str(word)) for word in words):
            return []
        total = walltime_seconds(self.system, self.keywords.get("walltime"))
        if total is None or not self._keeps_walltime():
            return []
        margin = self.keywords["lifetime_margin"]
        margin = min(total / 10, 300.0) if margin is None else quantities.seconds(str(margin), "lifetime_margin")
        stagger = margin / 4
        if not margin or margin + stagger >= total:
            return []
        return ["--lifetime", f"{total - margin - stagger:.0f}s", "--lifetime-stagger", f"{stagger:.0f}s"]

    def _keeps_walltime(self) -> bool:
        """Whether the option that sets the time is the generated one, neither left out nor followed by another."""
        pattern, facts = self.system.time_option, self.system.workers
        if not pattern or facts is None:
            return True
        mark = self.system.directive or ""
        options = [line.removeprefix(mark).strip() for line in self.header() if line.startswith(mark)]
        generated = fill([line for line in facts.options if "walltime" in named([line])], self.fields(None))
        timed = [option for option in options if re.search(pattern, option)]
        further = shlex.join(self.keywords.get("submit_command_extra", ()))
        return timed[-1:] == generated and not re.search(pattern, further)

    def script(self, place: Place | None = None) -> str:
        """Return the job script."""
        keywords = self.keywords
        shebang, prologue = keywords["shebang"], [*filter(None, keywords["job_script_prologue"])]
        lines = [shebang, "", *self.header(place)]
        user = [*prologue, self.launch_line(place), *keywords["job_script_epilogue"]]
        if _shell(shebang, _SH) is not None:
            body = [*prologue, self.launch_line(place), *_after(keywords["job_script_epilogue"])]
            # Lines of the user's may end, replace or change their shell; the one around it tells how it ended.
            own_shell = place is not None and len(user) > 1 and self.system.directive is not None
            return "\n".join(
                [*lines, *_record(self.system, place, keywords), *(["(", *body, ")"] if own_shell else body), ""]
            )
        if _shell(shebang, _CSH) is not None and place is not None:
            before, after = _record_of_csh(self.system, place)
            user = [*prologue, self.launch_line(place), "set ended = $status", *keywords["job_script_epilogue"]]
            return "\n".join([*lines, *before, *user, *after, ""])
        return "\n".join([*lines, *user, ""])

    def launch_line(self, place: Place | None = None) -> str:
        """Return the line that starts the workers, on every rank that the job has."""
        name = (self.name or "").replace("{job}", "$job" if place else "0")
        if self.ranks == 1:
            return self.command(name)
        python = self.keywords["python"]
        wanted, mpiexec = launcher(self.keywords["launcher"], python)
        job = Job(
            command=("bash", "-c", f"exec {self.command(f'{name}-{_RANK}')}"),
            resources=Resources(
                nodes=self.nodes,
                ranks_per_node=int(self.keywords["ranks_per_node"]),
                cores_per_rank=self.cores // int(self.keywords["ranks_per_node"]),
            ),
            launcher=wanted,
            mpiexec=mpiexec,
        )
        return launch(job, fields_of(self.system, job), self.system.launcher)


def _after(epilogue: Sequence[str]) -> list[str]:
    """Return the lines after the workers', which keep their exit status."""
    return ["status=$?", *epilogue, "exit $status"] if epilogue else []


def _number(system: BatchSystem, place: Place) -> tuple[int, str | None]:
    """Return the job's number, as a number and what has to be added to it in a job array."""
    index = system.workers.index if system.workers and place.count is not None else None
    return (place.first - 1, index) if index else (place.first, None)


def _record_of_csh(system: BatchSystem, place: Place) -> tuple[list[str], list[str]]:
    """Return what `_record` does in the words of csh: the lines ahead of the user's, and those after them.

    What the job prints stays in the batch system's file: csh cannot redirect its own output.
    """
    base, index = _number(system, place)
    directory = shlex.quote(str(place.directory))
    execution = system.execution or f"cat {directory}/$job.{run_directory.EXECUTIONS} 2>/dev/null | wc -l"
    execution = f"echo {execution}" if system.execution else execution
    before = [
        f"@ number = {base} + {index or 0}",
        "setenv job $number",
        f"set execution = `sh -c {shlex.quote(execution)}`",
        f"sh -c 'echo \"$0 $(date +%s) $(hostname)\" >>{directory}/$job.{run_directory.EXECUTIONS}' $execution",
        'set again = ""',
        "if ( $execution > 0 ) set again = .$execution",
    ]
    after = [f"sh -c 'echo $0 >{directory}/$job.status$1' $ended \"$again\"", "exit $ended"]
    return before, after


def _record(system: BatchSystem, place: Place | None, keywords: Mapping[str, Any]) -> list[str]:
    """Return the shell lines that number the job, and leave output and exit status where the cluster finds them."""
    if place is None:
        return []
    base, index = _number(system, place)
    number = f"$(({base} + {index}))" if index else str(base)
    lines = [f"job={number}"]
    if int(keywords["nodes"]) * int(keywords["ranks_per_node"]) > 1:
        lines.append("export job")
    directory = shlex.quote(str(place.directory))
    begun = f"{directory}/$job.{run_directory.EXECUTIONS}"
    lines += [
        f"execution={system.execution or f'$(cat {begun} 2>/dev/null | wc -l)'}",
        "again=${execution#0}",
        f'{{ echo "$execution $(date +%s) $(hostname)" >>{begun}; }} 2>/dev/null',
    ]
    if not keywords["log_directory"]:
        lines.append(f"[ -w {directory} ] && exec >>{directory}/$job.log${{again:+.$again}} 2>&1")
    return [*lines, f"trap '{{ echo $? >{directory}/$job.status${{again:+.$again}}; }} 2>/dev/null' EXIT"]


def _every_field(system: BatchSystem) -> set[str]:
    facts = system.workers
    lines = [*facts.options, *([facts.resource_spec] if facts.resource_spec else [])] if facts else []
    return named(lines)


def _shell(shebang: str, shells: Sequence[str] = (*_SH, *_CSH)) -> str | None:
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


def walltime_seconds(system: BatchSystem, text: object) -> float | None:
    """Return a walltime in seconds; None for none, or for words that are only the batch system's.

    Batch systems agree on 1:30:00 and 1-12:00:00; what one or two numbers mean is a fact of each.
    """
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", str(text or "").strip())
    if match is None or system.workers is None:
        return _span(str(text or ""))
    days, *numbers = (None if part is None else int(part) for part in match.groups())
    given = [number for number in numbers if number is not None]
    if days is not None:
        units = ["h", "m", "s"]
    else:
        short = system.workers.walltime
        units = {1: [short[0]], 2: [*short[1]], 3: ["h", "m", "s"]}[len(given)]
    seconds = {"h": 3600, "m": 60, "s": 1}
    return (days or 0) * 86400 + sum(number * seconds[unit] for number, unit in zip(given, units, strict=False))


def _span(text: str) -> float | None:
    """Return a time such as Flux has it: 30m, 1.5h, 90s."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]] if match else None


def refuse_lost(description: Description) -> None:
    """Raise ArgumentError for several nodes or ranks that no line carries, and for lines that cannot be taken."""
    if description.system.directive is not None:
        _ = description.directives
    facts = description.system.workers
    carried = named(kept(facts.options, description.fields(None))) if facts else set()
    carriers = {"nodes", "several_nodes", "ptile", "resource_spec", "ranks", "slots"}
    if description.ranks > 1 and not carriers & carried and not description.keywords["job_extra_directives"]:
        title = description.system.title
        raise ArgumentError(
            f"{title} has no option for nodes={description.nodes}",
            description.system.unsupported.get("nodes") or "ask for them with job_extra_directives",
        )
