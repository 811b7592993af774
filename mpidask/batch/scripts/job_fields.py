"""What lines may name of a job, and which of its requests they carry (pure)."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from mpidask.batch.job import BatchJob
from mpidask.batch.system import BatchSystem
from mpidask.batch.template import kept, named
from mpidask.errors import UsageError
from mpidask.quantities import working_directory

__all__ = ["allotted", "checked_directives", "fields_of", "is_of_chunk", "unsupported_requests"]

#: Which fields of a line carry what a job can ask for: any one of them passes it on.
CARRIERS = {
    "nodes": {"nodes", "ranks", "cores"},
    "ranks_per_node": {"ranks_per_node", "ranks", "cores_per_node", "cores"},
    "cores_per_rank": {"cores_per_rank", "cores_per_node", "cores"},
    "gpus_per_rank": {"gpus_per_rank", "gpus_per_node"},
    "memory_per_node": {"memory_per_node", "memory"},
    "queue": {"queue"},
    "account": {"account"},
    "walltime": {"walltime"},
    "parallel_environment": {"parallel_environment"},
}


_DERIVED = ("ranks", "cores", "cores_per_node", "gpus_per_node", "memory")


def fields_of(system: BatchSystem, job: BatchJob, script: Path | None = None) -> dict[str, object]:
    """Return what lines may name."""
    resources = job.resources
    directory = job.run_directory
    return {
        **{field.name: getattr(resources, field.name) for field in dataclasses.fields(resources)},
        **{name: getattr(resources, name) for name in _DERIVED},
        **{field.name: getattr(job, field.name) for field in dataclasses.fields(job)},
        **{f"{launcher}_options": system.launch_options.get(launcher) for launcher in ("openmpi", "hydra")},
        "name": job.name[: system.name_limit],
        "chunk": "".join(each for each in job.directives if is_of_chunk(each)),
        "mpiexec": shlex.quote(job.mpiexec),
        "lead": job.lead,
        "script": script,
        "output": directory / "system.log" if directory else None,
        "directory": working_directory(),
    }


def is_of_chunk(directive: str) -> bool:
    """Whether a directive adds to what each node has to be, such as :cpu_type=rome, and is no option by itself."""
    return directive.startswith(":")


def unsupported_requests(system: BatchSystem, job: BatchJob) -> list[str]:
    """Return what a job asks for and no option of this system carries."""
    lines = kept([*system.options, system.submit], fields_of(system, job, Path("job.sh")))
    carried = named(lines)
    return [field for field, carriers in CARRIERS.items() if job.asks(field) and not carriers & carried]


def allotted(system: BatchSystem, job: BatchJob) -> dict[str, int | None]:
    """Return what a job asks for of each node: field of `Resources` -> number; none where nothing is promised."""
    wanted = {"cores_per_node": "cores_per_rank", "memory_per_node": "memory_per_node"}
    carried = named([*system.options, system.submit]) if system.allots else set()
    return {name: getattr(job.resources, name) for name, field in wanted.items() if CARRIERS[field] & carried}


def checked_directives(system: BatchSystem, given: Sequence[str], refused: Mapping[str, str]) -> list[str]:
    """Return options of the user's, without a mark that was pasted along; raises UsageError for `refused` ones.

    refused: regular expression -> what to do instead
    """
    mark = system.directive or ""
    has_chunks = "chunk" in named(system.options)
    found = []
    for text in given:
        option = re.sub(rf"^\s*{re.escape(mark)}(?=[\s-])\s*", "", text) if mark else text
        if "\n" in option or (mark and option.lstrip().startswith("#")):
            raise UsageError(f"{text!r} is no option of {system.title}", "give one option, without '#'")
        for pattern, remedy in refused.items():
            if re.search(pattern, " ".join(option.split())):
                raise UsageError(f"{system.title}'s option {option!r} cannot be taken as it stands", remedy)
        if is_of_chunk(option) and not (has_chunks and re.fullmatch(r"(:[\w.-]+(=[^\s:+]+)?)+", option)):
            remedy = "write it as in :cpu_type=rome" if has_chunks else "give an option as the batch system has it"
            raise UsageError(f"{text!r} adds nothing to what {system.title} is asked for on each node", remedy)
        found.append(option)
    return found
