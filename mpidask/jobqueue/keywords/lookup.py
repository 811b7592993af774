"""Where a keyword's value is looked for: arguments, classes, configuration, environment."""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Mapping
from typing import Any

import dask.config

from mpidask.configuration import stands_in
from mpidask.errors import ArgumentError
from mpidask.jobqueue.keywords import profile as profiles
from mpidask.jobqueue.keywords.table import KEYWORDS, Keyword, known, renamed
from mpidask.jobqueue.keywords.values import UnfitError
from mpidask.jobqueue.keywords.warning import warn
from mpidask.profiles import layers

__all__ = ["Found", "read", "settle", "settle_one"]


@dataclasses.dataclass(frozen=True)
class Found:
    """A value, and where it stands: for messages."""

    value: Any
    where: str


@dataclasses.dataclass(frozen=True)
class _Lookup:
    """Where values are looked for: given ones, then those of a class, the configuration, the environment.

    What the profile of a site says with a list stays: what is given comes after it.

    system:  the batch system
    section: section of the configuration; the batch system's own, or that of ``config_name``
    owner:   name of the cluster class
    given:   name -> value; None counts as not given
    classed: name -> value that a derived class sets
    layered: key -> value of the configuration where a profile or a project has a say
    """

    system: str
    section: str
    owner: str
    given: Mapping[str, Any]
    classed: Mapping[str, Found] = dataclasses.field(default_factory=dict)
    layered: Mapping[str, layers.Found] = dataclasses.field(default_factory=dict)

    def find(self, keyword: Keyword) -> Found | None:
        """Return what is said about a keyword by its name of today."""
        found = self._said(keyword.name, keyword.path)
        variable = keyword.variable.get(self.system)
        if (found is None or found.value is None) and variable is not None and os.environ.get(variable):
            return Found(os.environ[variable], f"{variable} in the environment")
        return found

    def find_former(self, old: str) -> Found | None:
        """Return what is said by an old name."""
        found = self._said(old, old.replace("_", "-"))
        return None if found is None or found.value is None else found

    def _said(self, name: str, key: str) -> Found | None:
        layered = self.layered.get(key.replace("-", "_"))
        if self.given.get(name) is not None:
            value, fixed = self.given[name], layered.fixed if layered is not None else ()
            value = [*fixed, *value] if fixed and isinstance(value, list | tuple) else value
            return Found(value, f"argument of {self.owner}")
        if name in self.classed:
            return self.classed[name]
        if layered is not None:
            where = f"profile {layered.profile}" if layered.profile else f"jobqueue.{self.section}.{key}"
            return Found(layered.value, where)
        return _configured(self.section, key)


def _configured(section: str, key: str) -> Found | None:
    missing = object()
    value = dask.config.get(f"jobqueue.{section}.{key}", default=missing)
    if value is missing:
        return None
    return Found(value, f"jobqueue.{section}.{key}")


def _check_section(section: str) -> None:
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
    _refuse_unknown(system, given, owner)
    lookup = _Lookup(system, section, owner, given, classed or {})
    profile = read(KEYWORDS["profile"], system, lookup.find(KEYWORDS["profile"]))
    layered = profiles.layered(system, section, profile)
    lookup = dataclasses.replace(lookup, layered=layered or {})
    said = None if layered is None else profiles.remark(profile)
    if said:
        warn(f"mpidask: {said}", UserWarning, key="profiles-of-sites")
    found = {each.name: lookup.find(each) for each in known(system)}
    for old, new in renamed(system).items():
        former = lookup.find_former(old)
        if former is None:
            continue
        warn(
            f"{old} has been renamed to {new}: it is used where {new} is not set ({_place(former.where)})",
            FutureWarning,
            key="keywords-of-clusters",
        )
        current = found[new]
        if current is None or not current.value:
            found[new] = former
    return {name: read(KEYWORDS[name], system, value) for name, value in found.items()}


def settle_one(system: str, section: str, name: str, given: Any, owner: str, profile: str | None = None) -> Any:
    """Return the value of one keyword as `settle` does."""
    _check_section(section)
    keyword = KEYWORDS[name]
    lookup = _Lookup(system, section, owner, {"profile": profile})
    profile = read(KEYWORDS["profile"], system, lookup.find(KEYWORDS["profile"]))
    layered = profiles.layered(system, section, profile)
    return read(keyword, system, _Lookup(system, section, owner, {name: given}, layered=layered or {}).find(keyword))


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
