"""What the profile of a site says for the cluster classes: options of its job, as keywords."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dask.config

from mpidask import configuration
from mpidask.batch import registry
from mpidask.batch.settings import walltime
from mpidask.batch.template import fill
from mpidask.errors import ArgumentError, UsageError
from mpidask.jobqueue.keywords.table import KEYWORDS
from mpidask.profiles.layers import Found, nested

__all__ = ["keywords_of", "layered", "remark", "system_of"]

#: Option of a job -> keyword.
_SAME = {
    "queue": "queue",
    "account": "account",
    "memory-per-node": "memory",
    "directive": "job_extra_directives",
    "prologue": "job_script_prologue",
    "epilogue": "job_script_epilogue",
    "launcher": "launcher",
    "python": "python",
}

#: Option of a run -> keyword.
_OF_RUN = {"interface": "interface", "local-directory": "local_directory"}


def keywords_of(body: Mapping[str, Any], system: str) -> dict[str, Any]:
    """Return the keywords of a cluster class for what a profile says, spelled as in the configuration (pure).

    A profile's section `jobqueue` counts before what follows from its options.
    """
    batch = _spelled(body.get("batch") or {})
    run = _spelled(body)
    found = {keyword: batch[name] for name, keyword in _SAME.items() if name in batch}
    found |= {keyword: run[name] for name, keyword in _OF_RUN.items() if name in run}
    if "cores-per-rank" in batch:
        found["cores"] = batch["cores-per-rank"] * batch.get("ranks-per-node", 1)
    if batch.get("walltime") is not None:
        found["walltime"] = fill(["{time}"], {"time": walltime(str(batch["walltime"]))})[0]
    known = {name: each for name, each in KEYWORDS.items() if each.is_for(system)}
    if "account" in found and "account" not in known:
        found["project"] = found.pop("account")
    own = {known[name].path: value for name, value in found.items() if name in known}
    return {**own, **_spelled(body.get("jobqueue") or {})}


def _spelled(section: Mapping[str, Any]) -> dict[str, Any]:
    return {str(key).replace("_", "-"): value for key, value in section.items()}


def layered(system: str, section: str, given: str | None) -> dict[str, Found] | None:
    """Return key of the section -> what counts there; None where neither a profile nor a project has a say.

    given: the profile; None for the one that the configuration names
    Raises ArgumentError for a profile that is not there, or is for another batch system.
    """
    configured = dask.config.get("mpidask.profile", default=None)
    if not given and not configured and configuration.project_file() is None:
        return None
    try:
        found = configuration.read(given, lambda body: {"jobqueue": {section: keywords_of(body, system)}})
        meant = _meant(found, given, system)
    except UsageError as error:
        raise ArgumentError(error.what, error.remedy) from None
    if not meant:
        return None
    return {path[2]: each for path, each in found.found.items() if path[:2] == ("jobqueue", section) and len(path) > 2}


def _meant(found: configuration.Configured, given: str | None, system: str) -> bool:
    """Whether the profile is for that batch system; raises ArgumentError if it is given, and for another one."""
    kind = _kind(nested(found.found, ("mpidask", "batch", "system")))
    if kind in (None, system) or not found.profiles:
        return True
    if given:
        title = registry.find(str(kind)).title
        raise ArgumentError(f"the profile {given} is for {title}", f"use the cluster class for {title}")
    return False


def _kind(name: Any) -> str | None:
    """Return which system that mpidask brings a variant is like."""
    declared = configuration.in_profiles("batch", "systems")
    while name in declared:
        name = declared[name].get("like")
    return name if name is None else {"torque": "pbs"}.get(str(name), str(name))


def system_of(native: str, given: str | None) -> str:
    """Return the batch system that a class is for: the profile's variant of it, if it has one."""
    if not given and not dask.config.get("mpidask.profile", default=None):
        return native
    try:
        named = configuration.read(given).section("batch").get("system")
    except UsageError as error:
        raise ArgumentError(error.what, error.remedy) from None
    return str(named) if named and named != native and _kind(named) == native else native


def remark(given: str | None) -> str | None:
    """Return what is to be said of a profile that nobody has run; None for nothing."""
    try:
        return configuration.remark(configuration.read(given).profiles)
    except UsageError as error:
        raise ArgumentError(error.what, error.remedy) from None
