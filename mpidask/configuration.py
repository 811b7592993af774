"""Dask's configuration: the section mpidask, where its keys stand, and what is wrong with a file."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import os
import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from mpidask.errors import UsageError
from mpidask.profiles import layers, packaged
from mpidask.profiles.file import content, line_of, pairs, tree
from mpidask.profiles.layers import Found

__all__ = [
    "Configured",
    "as_usage_error",
    "check_files",
    "files",
    "hand_to_dask",
    "in_profiles",
    "is_standard",
    "keys",
    "label",
    "layers_here",
    "origin",
    "project_file",
    "read",
    "remark",
    "section",
    "sections_of_dask",
    "stands_in",
]

#: Sections of a configuration file that are not mpidask's.
_OF_OTHERS = (
    "array admin backends cloudprovider dask-gateway dataframe diagnostics distributed dask fuse gateway jobqueue "
    "kubernetes labextension local logging logging-file-config optimization pool p2p rmm scheduler scheduler-address "
    "shuffle temporary-directory tokenize ucx visualization yarn"
)

#: How Dask says that it cannot read one of its files.
_MALFORMED = re.compile(r"A dask config file at '(?P<file>.*)' is malformed.*?\n\n(?P<why>.*)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Configured:
    """The configuration, with all its layers.

    found:    key, from the top -> what counts there
    profiles: the chosen profile and those that it is like, the most general one first
    """

    found: Mapping[layers.Path, Found]
    profiles: Sequence[str]

    def section(self, *path: str) -> dict[str, Any]:
        """Return what stands under `mpidask`, or deeper; raises UsageError for what is no section."""
        found = layers.nested(self.found, ("mpidask", *layers.normal(path)))
        if found is None:
            return {}
        if not isinstance(found, dict):
            raise UsageError(f"{self.label(*path)} is {found!r}", "a mapping is needed there: keys with values")
        return found

    def fixed(self, *path: str) -> tuple[Any, ...]:
        """Return what profiles have put into a list of section mpidask."""
        found = self.found.get(("mpidask", *layers.normal(path)))
        return () if found is None else found.fixed

    def place(self, *path: str) -> str | None:
        """Return where a key stands, from the top: a profile, a file with its line, or a variable; None: nowhere."""
        found = self.found.get(layers.normal(path))
        if found is None or found.profile is None:
            return stands_in(*path)
        return f"profile {found.profile}, {_line_in_profile(found, path)}"

    def label(self, *path: str) -> str:
        """Return how a key of the section mpidask is called in messages: by name and place."""
        return _named(path, self.place("mpidask", *path))


def read(
    profile: str | None = None, translate: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda _: {}
) -> Configured:
    """Return the configuration with a profile: the given one, else the one that the configuration names.

    translate: returns what a profile says in further sections
    Raises UsageError for a file that is no YAML, and for a profile that is not there.
    """
    raw = _dask_config().get("mpidask", default=None)
    if not isinstance(raw, Mapping | None):
        raise UsageError(f"{label()} is {raw!r}", "a mapping is needed there: keys with values")
    every = layers_here()
    chosen = profile or layers.nested(layers.merge(every, ()), ("mpidask", "profile"))
    try:
        names = layers.chain(every, str(chosen)) if chosen else []
    except UsageError as error:
        where = stands_in("mpidask", *(("profiles", profile, "like") if profile else ("profile",)))
        raise UsageError(f"{error.what} ({where})" if where else error.what, error.remedy) from None
    return Configured(layers.merge(every, names, translate), names)


def layers_here() -> list[layers.Layer]:
    """Return the layers: what mpidask brings, Dask's files, the project's file, environment and program."""
    config = _dask_config()
    of_dask = [(file, content(file)) for file in [*_dask_files()][::-1]]
    below = config.merge(*map(_ours, config.defaults), *(_ours(found) for _, found in of_dask))
    project = project_file()
    of_files = of_dask if project is None else [*of_dask, (project, content(project))]
    above = _above(below, _ours(config.config))
    return [packaged.LAYER, *(layers.layer(*each) for each in of_files), layers.layer("", above)]


def _ours(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sections that profiles may have a say in."""
    return {key: found[key] for key in ("mpidask", "jobqueue") if isinstance(found.get(key), Mapping)}


def _above(below: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the configuration has, and not from files: from the environment and the program."""
    known = {layers.normal(path): value for path, value in layers.flat(below)}
    variables = {tuple(name[5:].lower().replace("-", "_").split("__")) for name in os.environ if name[:5] == "DASK_"}
    missing = object()
    result: dict[str, Any] = {}
    for path, value in layers.flat(now):
        if known.get(layers.normal(path), missing) != value or layers.normal(path) in variables:
            branch = result
            for name in path[:-1]:
                branch = branch.setdefault(name, {})
            branch[path[-1]] = value
    return result


def project_file() -> str | None:
    """Return the file mpidask.yaml of the project: of the working directory, or the nearest one above it.

    A file that belongs to somebody else is none: what it says is run. None if there is none, or Dask reads it anyway.
    """
    try:
        place = os.getcwd()
    except OSError:  # somebody has removed it
        return None
    while True:
        file = os.path.join(place, "mpidask.yaml")
        with contextlib.suppress(OSError):
            if os.stat(file).st_uid in (os.getuid(), 0):
                return None if file in map(os.path.abspath, _dask_files()) else file
        if place == os.path.dirname(place):
            return None
        place = os.path.dirname(place)


def hand_to_dask(configured: Configured, keys: Iterable[str]) -> None:
    """Put what others look for there into Dask's configuration: values of keys of section mpidask."""
    said = {f"mpidask.{key}": found.value for key in keys if (found := configured.found.get(("mpidask", key)))}
    config = _dask_config()
    config.set({key: value for key, value in said.items() if config.get(key, None) != value})


def remark(profiles: Sequence[str]) -> str | None:
    """Return what is to be said of a profile that nobody has run yet; None for one that has been, or makes no claim."""
    bodies = [(name, each.profiles[name]) for name in profiles for each in layers_here() if name in each.profiles]
    abouts = [(name, body["about"]) for name, body in bodies if isinstance(body.get("about"), Mapping)]
    if not abouts or any(about.get("ran") for _, about in abouts):
        return None
    name, about = abouts[-1]
    follows = f"; it follows {about['source']}" if about.get("source") else ""
    return f"nobody has run the profile {name} yet{follows}. Try it with a small job first"


def in_profiles(*path: str) -> dict[str, Any]:
    """Return what all profiles together have under a key of section mpidask."""
    every = layers_here()
    names = sorted({name for each in every for name in each.profiles})
    found = layers.merge([dataclasses.replace(each, tree={}) for each in every], names)
    return layers.nested(found, ("mpidask", *path)) or {}


def section(*path: str, profile: str | None = None) -> dict[str, Any]:
    """Return what the configuration has under `mpidask`, or deeper.

    path:    names of further sections, such as "batch"
    profile: the profile that counts; None for the one that the configuration names
    Raises UsageError for a file that is no YAML, and for what is no section.
    """
    return read(profile).section(*path)


def _dask_config() -> types.ModuleType:
    """Return dask.config, which reads the files when it is imported; raises UsageError for one that is no YAML."""
    try:
        return importlib.import_module("dask.config")
    except ValueError as error:
        raise as_usage_error(error) or error from None


def as_usage_error(error: ValueError) -> UsageError | None:
    """Return Dask's error for a configuration file that is no YAML as one message; None for another error."""
    match = _MALFORMED.match(str(error))
    if match is None:
        return None
    position = re.search(r"line (\d+), column (\d+)", match["why"])
    where = f", line {position[1]}, column {position[2]}" if position else ""
    why = ", ".join(line for line in match["why"].splitlines() if line[:1].strip())
    return UsageError(f"{match['file']}{where} is no YAML: {why}", "mend that line; `mpidask config` prints a template")


def check_files(valid: Mapping[str, str]) -> None:
    """Raise UsageError for a file mpidask.yaml with a top-level key that nothing reads.

    valid: key of the section mpidask -> its full name, for those who forget the section
    """
    for file in files():
        if os.path.basename(file) == "mpidask.yaml":
            for key, line in _top_level(file):
                if key not in _known():
                    raise UsageError(f"unknown key {key} ({file}, line {line})", _hint(key, valid))


def _hint(key: str, valid: Mapping[str, str]) -> str:
    names = {name.replace("_", "-"): full for name, full in valid.items()} | {"mpidask": "mpidask"}
    import difflib  # not at the top: ranks that only wait do without

    close = difflib.get_close_matches(key.replace("_", "-"), names, 1)
    meant = f"did you mean {names[close[0]]}? " if close else ""
    return f"{meant}options stand indented under `mpidask:`; `mpidask config` prints them all"


def sections_of_dask() -> frozenset[str]:
    """Return the names of sections that a file may have."""
    return _known()


@functools.cache
def _known() -> frozenset[str]:
    by_default = {key for defaults in _dask_config().defaults for key in defaults}
    return frozenset({"mpidask", *_OF_OTHERS.split(), *(key.replace("_", "-") for key in by_default), *by_default})


@functools.cache
def _top_level(file: str) -> tuple[tuple[str, int], ...]:
    """Return the keys of a file with their lines."""
    return tuple((str(key.value), key.start_mark.line + 1) for key, _ in pairs(tree(file)))


def label(*path: str, profile: str | None = None) -> str:
    """Return how a key of the section mpidask is called in messages: by name and place, or its environment variable."""
    return read(profile).label(*path) if path else _named(path, stands_in("mpidask"))


def _named(path: Sequence[str], place: str | None) -> str:
    name = ".".join(["mpidask", *path])
    if place is None:
        return f"{name} in the configuration"
    return place if place.startswith("DASK_") else f"{name} ({place})"


def origin(*path: str) -> str:
    """Return `` (in FILE, line N)`` for the place where a key of section mpidask stands, "" if none has it."""
    found = stands_in("mpidask", *path)
    return f" (in {found})" if found else ""


def stands_in(*path: str) -> str | None:
    """Return the environment variable, or file and line, in which a key stands; None if it stands in none."""
    wanted = [each.lower().replace("-", "_") for each in path]
    for name in os.environ:
        if name.startswith("DASK_") and name[5:].lower().replace("-", "_").split("__") == wanted:
            return name
    for file in files():
        line = line_of(tree(file), path)
        if line is not None:
            return f"{file}, line {line}"
    return None


def _line_in_profile(found: Found, path: Sequence[str]) -> str:
    """Return the file of a profile's value, with its line where it stands there as such."""
    name = str(found.profile)
    if found.place == packaged.LAYER.place:
        file, within = packaged.file_of(name), tuple(path[1:])
    else:
        file, within = found.place, ("mpidask", "profiles", name, *path[1:])
    line = line_of(tree(file), within) if file else None
    return f"{file or 'the environment or the program'}{f', line {line}' if line else ''}"


def files() -> Iterator[str]:
    """Yield the files of the configuration, those that count first."""
    project = project_file()
    if project is not None:
        yield project
    yield from _dask_files()


def _dask_files() -> Iterator[str]:
    """Yield the files that Dask reads, those that count first."""
    for place in map(str, reversed(_dask_config().paths)):
        try:
            names = sorted(os.listdir(place), reverse=True) if os.path.isdir(place) else [os.path.basename(place)]
        except OSError:  # Dask leaves it out, too
            continue
        directory = place if os.path.isdir(place) else os.path.dirname(place)
        yield from (os.path.join(directory, name) for name in names if name.endswith((".yaml", ".yml", ".json")))


def is_standard(key: str) -> bool:
    """Whether a key of Dask's configuration has the value that Dask gives it."""
    import dask.config

    return dask.config.get(key) in [dask.config.get(key, None, config=dict(each)) for each in dask.config.defaults]


def keys(kind: type, indent: str) -> list[str]:
    """Return the commented lines of a section of the configuration: the fields of a dataclass of options."""
    lines = []
    for field in dataclasses.fields(kind):
        value = str(field.default).lower() if isinstance(field.default, bool) else field.default
        value = "null" if value is None else [] if value == () else value
        lines.append(f"# {indent}{field.name.replace('_', '-')}: {value}  # {field.metadata['help']}")
    return lines
