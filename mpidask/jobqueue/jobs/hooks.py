"""What classes derived from ours override: it takes effect, or is refused with what to do instead.

dask-jobqueue's users derive classes from its `Job`. A name of its that has no effect here must not pass unnoticed.
"""

from __future__ import annotations

import functools
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from mpidask.batch.commands.command import Command
from mpidask.errors import ArgumentError

__all__ = [
    "HONOURED",
    "REFUSED",
    "REFUSED_IN_CLUSTERS",
    "computed",
    "further_words",
    "own",
    "refuse",
    "refuse_assignment",
    "remember",
]

_SCRIPT = "override job_script, which may change what super().job_script() returns"
_SUBMIT = "give further words with submit_command_extra, or put a program of the command's name first on PATH"
_CANCEL = "give further words with cancel_command_extra, or put a program of the command's name first on PATH"
_ID = "declare the batch system's answer in the configuration: job-id of a system in mpidask.batch.systems"
_COMMAND = "use python, worker_command and worker_extra_args, or " + _SCRIPT
_SIZE = "give cores, memory and processes as keywords or in the configuration"
_IN_JOB = "override it in a class derived from the job's, and name that class with job_cls"

#: dask-jobqueue's names in classes of jobs that have no effect here -> what to do instead.
REFUSED: Mapping[str, str] = {
    "_submit_job": _SUBMIT,
    "_close_job": _CANCEL,
    "_call": "mpidask runs the commands in its own way: " + _SUBMIT,
    "start": _SUBMIT,
    "close": _CANCEL,
    "job_file": _SCRIPT,
    "_script_template": _SCRIPT,
    "_command_template": _COMMAND,
    "_job_script_prologue": "give job_script_prologue, or " + _SCRIPT,
    "_job_id_from_submit_output": _ID,
    "job_id_regexp": _ID,
    "job_id": _ID,
    "worker_processes": _SIZE,
    "worker_cores": _SIZE,
    "worker_memory": _SIZE,
    "worker_disk": "give disk as a keyword or in the configuration",
}

#: The names in classes of jobs that take effect, besides those of keywords.
HONOURED = (
    "submit_command",
    "cancel_command",
    "executable",
    "job_header",
    "job_header_dict",
    "job_script",
    "worker_process_memory",
    "worker_process_threads",
)

#: Those that may be assigned to a job, after `super().__init__()`.
ASSIGNABLE = ("job_header", "job_header_dict", "_command_template")

#: What a job of dask-jobqueue has from keywords.
ATTRIBUTES = ("job_name", "shebang", "log_directory", "job_extra_directives", "job_directives_skip", "use_stdin")

#: Names in classes of clusters that have no effect here.
REFUSED_IN_CLUSTERS: Mapping[str, str] = {
    "_get_worker_security": "give security= or shared_temp_directory=",
    "_dummy_job": _IN_JOB,
    "job_name": "give job_name= or, " + _IN_JOB,
    # start and close are Dask's own there.
    **{name: _IN_JOB for name in (*HONOURED, *REFUSED, "shebang", "log_directory") if name not in ("start", "close")},
}

_LIBRARIES = ("mpidask", "dask", "distributed")

#: Our classes as they were made: somebody may set attributes of them later.
_made: dict[type, dict[str, Any]] = {}


def remember(kind: type) -> None:
    """Note what one of our classes defines."""
    if _is_ours(kind):
        _made[kind] = dict(vars(kind))


def own(kind: type, names: Iterable[str]) -> dict[str, Any]:
    """Return name -> attribute for those names that somebody else than we defines in a class or its bases."""
    owners = {name: next((each for each in kind.__mro__ if name in vars(each)), None) for name in names}
    return {name: vars(each)[name] for name, each in owners.items() if each is not None and _is_theirs(each, name)}


def _is_theirs(kind: type, name: str) -> bool:
    if not _is_ours(kind):
        return True
    return kind in _made and vars(kind)[name] is not _made[kind].get(name)


def _is_ours(kind: type) -> bool:
    return kind is object or kind.__module__.split(".", maxsplit=1)[0] in _LIBRARIES


def computed(attribute: Any) -> bool:
    """Whether a class's attribute is a property."""
    return isinstance(attribute, property | functools.cached_property)


def refuse(kind: type, refused: Mapping[str, str] = REFUSED) -> None:
    """Raise ArgumentError if a class overrides what has no effect."""
    elsewhere = {name: "remove it: it belongs to another batch system" for name in HONOURED if not _has(kind, name)}
    for name in own(kind, {**elsewhere, **refused}):
        remedy = refused.get(name) or elsewhere[name]
        raise ArgumentError(f"{name} of the class {kind.__name__} has no effect with mpidask", remedy)


def _has(kind: type, name: str) -> bool:
    """Whether one of our classes among the bases defines a name."""
    return any(name in vars(each) for each in kind.__mro__ if _is_ours(each))


def refuse_assignment(kind: type, name: str) -> None:
    """Raise ArgumentError if what is assigned to an attribute of a job has no effect: its script is made already."""
    if name in ASSIGNABLE and _has(kind, name) and not own(kind, [name]):
        return
    if name in REFUSED or name in HONOURED or name in ATTRIBUTES:
        remedy = REFUSED.get(name) or (
            f"make it a property of the class: `@property`, `def {name}(self): ...`; super().{name} is what it was"
        )
        raise ArgumentError(f"{name} is assigned to a job of the class {kind.__name__}, which has no effect", remedy)


def further_words(kind: type, name: str, command: Any, known: str) -> list[str]:
    """Return the further words of a class's `submit_command` or `cancel_command`; raises ArgumentError.

    command: the class's
    known:   the batch system's
    The program itself is the batch system's: jobs are also asked about and cancelled by processes that know no class.
    """
    try:
        words = shlex.split(command) if isinstance(command, str) else list(map(str, command))
    except (TypeError, ValueError):
        words = []
    wanted = Command.parse(known).program
    if not words or words[0] != wanted:
        raise ArgumentError(
            f"{name} of the class {kind.__name__} is {command!r}, which is another program than {wanted}",
            f"let it begin with {wanted} and have further words, or put a program of that name first on PATH",
        )
    return words[1:]
