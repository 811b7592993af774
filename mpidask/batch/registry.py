"""Which batch systems there are, and which one is here.

The known ones are in `mpidask.batch.systems`. A site's variant, or another system, is declared in the
configuration with the same keys (``mpidask: {batch: {systems: {NAME: {like: slurm, ...}}}}``).
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib
import pkgutil
import re
from collections.abc import Iterable, Mapping
from typing import Any

from mpidask.batch import systems
from mpidask.batch.commands import runner
from mpidask.batch.commands.command import Command
from mpidask.batch.job import BatchJob, Resources
from mpidask.batch.job_state import JobState
from mpidask.batch.scripts.job_fields import fields_of
from mpidask.batch.system import BatchSystem, Query, Workers
from mpidask.batch.template import named
from mpidask.configuration import in_profiles, origin, section
from mpidask.errors import BatchError, SilenceError, UsageError

__all__ = ["answers", "find", "find_here", "names"]

#: Asked in this order: some answer in the name of another (Torque's commands exist for Slurm, Moab sits on top of
#: others), HTCondor is often installed beside. What is not named here is asked between them; local is the last resort.
_FIRST = ("slurm", "flux", "lsf", "oar", "sge")
_LAST = ("moab", "pbs", "torque", "htcondor", "local")

_DETECTION = 10.0  # s; there may be several to ask


def names() -> list[str]:
    """Return the names of all systems, in the order in which they are looked for."""
    known = {*(each.name for each in pkgutil.iter_modules(systems.__path__)), *_declared()}
    middle = sorted(known - {*_FIRST, *_LAST})
    return [name for name in (*_FIRST, *middle, *_LAST) if name in known]


def find(name: str) -> BatchSystem:
    """Return the batch system of that name; raises UsageError if there is none, or for a wrong declaration.

    One that a profile declares is known without the profile, too: jobs are on record under its name.
    """
    declared = _declared()
    if name in declared:
        return _declare(name, declared[name])
    if name not in names():
        of_profiles = in_profiles("batch", "systems")
        if name in of_profiles:
            return _declare(name, of_profiles[name])
        close = difflib.get_close_matches(name, names(), 1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise UsageError(f"there is no batch system {name!r}", f"{hint}There are: {', '.join(sorted(names()))}")
    return _known(name)


def find_here(name: str | None = None) -> BatchSystem:
    """Return the named batch system, else the configured one, else the first that answers here."""
    name = name or section("batch").get("system")
    return find(name) if name else _detect()


@functools.cache
def _detect() -> BatchSystem:
    """Return the first system that answers, this machine if there is none; raises BatchError for one that is silent."""
    every = [find(name) for name in names()]
    installed = [system for system in every if system.detect and runner.installed(system.detect)]
    silent = []
    for system in installed:
        answer = _asked(system)
        if answer:
            return system
        # qsub and qstat are commands of several systems: those that ask for words tell whether they are meant.
        if answer is None or not system.detected:
            silent.append(system)
    if silent:
        titles = ", ".join(dict.fromkeys(system.title for system in silent))
        raise BatchError(
            f"the commands of {titles} are here, but do not answer",
            "try again later, name the one that is meant with --system, or run the job on this machine with "
            "--system local",
        )
    return find("local")


def answers(system: BatchSystem) -> bool:
    """Whether the system's service answers."""
    return bool(_asked(system))


def _asked(system: BatchSystem) -> bool | None:
    """Whether the system's service answers as it should; None if it does not answer in time."""
    try:
        output = runner.run(Command(argv=tuple(system.detect.split())), _DETECTION)
    except SilenceError:
        return None
    except BatchError:
        return False
    # Some print their version with a status other than 0; where words are expected these count.
    if system.detected:
        return re.search(system.detected, output.stdout + output.stderr, re.MULTILINE) is not None
    return output.status == 0


def _known(name: str) -> BatchSystem:
    system: BatchSystem = importlib.import_module(f"{systems.__name__}.{name}").SYSTEM
    return system


def _declared() -> Mapping[str, Any]:
    """Return name -> declaration, from the configuration."""
    declared = section("batch").get("systems") or {}
    if not isinstance(declared, dict):
        raise UsageError(
            f"mpidask.batch.systems is {declared!r}{origin('batch', 'systems')}", "a mapping is needed there"
        )
    return declared


def _declare(name: str, declaration: Any) -> BatchSystem:
    where = f"mpidask.batch.systems.{name}"
    if not isinstance(declaration, dict):
        raise UsageError(f"{where} is {declaration!r}{origin('batch', 'systems', name)}", "a mapping is needed there")
    values = {key.replace("-", "_"): value for key, value in declaration.items()}
    like = values.pop("like", None)
    fields = {field.name: field for field in dataclasses.fields(BatchSystem) if field.name != "name"}
    for key in values:
        if key not in fields:
            raise UsageError(
                f"unknown key {where}.{key}{origin('batch', 'systems', name, key)}",
                f"there are: like, {', '.join(fields)}",
            )
    base = None if like is None else _known(str(like)) if like in names() else find(str(like))
    if base is not None and isinstance(values.get("workers"), Mapping):
        values["workers"] = _workers(f"{where}.workers", base.workers, values["workers"])
    values = {key: _value(f"{where}.{key}", fields[key].type, value) for key, value in values.items()}
    if base is not None:
        system = dataclasses.replace(base, name=name, **values)
    else:
        needed = [field.name for field in fields.values() if _needed(field) and field.name not in {*values, "title"}]
        if needed:
            raise UsageError(
                f"{where} lacks {', '.join(needed)}{origin('batch', 'systems', name)}",
                "declare them, or name a system that it is like: `like: slurm`",
            )
        system = BatchSystem(**{"name": name, "title": name, **values})
    _check_lines(where, system, origin("batch", "systems", name))
    return system


def _workers(where: str, base: Workers | None, declared: Mapping[str, Any]) -> Workers:
    """Return the facts on per-worker jobs: those of the system that it is like, with what differs."""
    fields = {field.name: field for field in dataclasses.fields(Workers)}
    values: dict[str, Any] = {}
    for key, value in declared.items():
        name = key.replace("-", "_")
        if name not in fields:
            raise UsageError(f"unknown key {where}.{key}", f"there are: {', '.join(fields)}")
        values[name] = None if value is None else _value(f"{where}.{key}", fields[name].type, value)
    return Workers(**values) if base is None else dataclasses.replace(base, **values)


def _needed(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _value(where: str, declared: object, value: Any) -> Any:
    """Return a value of the configuration as the type that a field declares; raises UsageError."""
    kind = str(declared)
    try:
        if kind.startswith("tuple"):
            return tuple(tuple(each) if isinstance(each, list) else str(each) for each in _listed(value))
        if isinstance(value, Workers):
            return value
        if kind.startswith("Query"):
            return Query(**value)
        if kind.startswith("Mapping[JobState"):
            return {JobState[key.upper()]: str(words) for key, words in value.items()}
        if kind.startswith("Mapping"):
            return {str(key): str(words) for key, words in value.items()}
        return value if value is None else str(value)
    except (TypeError, AttributeError, KeyError) as error:
        needs = {
            "Query": "a mapping with command, row, more, absent",
            "Mapping": "a mapping",
            "tuple": "a list of lines",
        }
        words = next((text for start, text in needs.items() if kind.startswith(start)), "text")
        if "JobState" in kind:
            words = f"a mapping of {', '.join(state.name for state in JobState)} to the system's words"
        keys = [part for part in where.split(".") if part != "mpidask"]
        raise UsageError(f"{where} cannot be used: {error}{origin(*keys)}", f"{words} is needed there") from None


def _listed(value: Any) -> Iterable[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is not a list")
    return value


def _check_lines(where: str, system: BatchSystem, place: str) -> None:
    """Refuse lines that name fields which do not exist, and expressions that are none."""
    job = BatchJob(command=("true",), resources=Resources())
    known = set(fields_of(system, job))
    try:
        unknown = named([*system.options, *system.signal]) - known
        for pattern in (system.job_id, system.status.row, *system.reasons, *system.refusals):
            re.compile(pattern)
    except (ValueError, re.error) as error:
        raise UsageError(f"{where} cannot be used: {error}{place}", "see the systems that mpidask brings") from None
    if unknown:
        raise UsageError(
            f"{where}: no such field: {', '.join(sorted(unknown))}{place}", f"there are: {', '.join(sorted(known))}"
        )
