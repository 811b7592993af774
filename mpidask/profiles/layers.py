"""The layers of the configuration, and which of their values count (pure).

A layer that comes later counts before those ahead of it. Within one, a profile counts before what stands outside of
profiles, and a profile before the one that it is like. What a profile says with a list is added to, never replaced.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mpidask.errors import UsageError

__all__ = ["OF_PROFILES", "Found", "Layer", "Path", "chain", "flat", "layer", "merge", "nested", "normal"]

#: Keys from the top of the configuration, spelled with `_`.
Path = tuple[str, ...]

#: Keys of a profile that are no options of a run or a job.
OF_PROFILES = ("about", "like", "jobqueue")


@dataclasses.dataclass(frozen=True)
class Found:
    """A value, and where it stands.

    spelled: the keys as they are written there
    place:   the file; "" for the environment and the program
    profile: the profile; None outside of profiles
    fixed:   what profiles have put into a list
    """

    value: Any
    spelled: Path
    place: str
    profile: str | None = None
    fixed: tuple[Any, ...] = ()


@dataclasses.dataclass(frozen=True)
class Layer:
    """One place of the configuration: what it says outside of profiles, and the profiles that it declares."""

    place: str
    tree: Mapping[str, Any]
    profiles: Mapping[str, Mapping[str, Any]]


def layer(place: str, tree: Mapping[str, Any]) -> Layer:
    """Return a file's layer: the sections mpidask and jobqueue, and the profiles in the former."""
    section = tree.get("mpidask")
    own = {**section} if isinstance(section, Mapping) else {}
    declared = own.pop("profiles", None)
    profiles = {str(name): body for name, body in declared.items()} if isinstance(declared, Mapping) else {}
    for name, body in profiles.items():
        if not isinstance(body, Mapping):
            where = f" ({place})" if place else ""
            raise UsageError(f"the profile {name} is {body!r}{where}", "a mapping is needed there")
    return Layer(place, {"mpidask": own, "jobqueue": tree.get("jobqueue") or {}}, profiles)


def chain(layers: Sequence[Layer], name: str) -> list[str]:
    """Return a profile and those that it is like, the most general one first; raises UsageError for an unknown one."""
    names: list[str] = []
    wanted: str | None = name
    while wanted is not None:
        bodies = [each.profiles[wanted] for each in layers if wanted in each.profiles]
        if not bodies:
            raise _unknown(layers, wanted, names)
        if wanted in names:
            raise UsageError(f"the profiles {' and '.join(names)} are like each other", "take one `like:` out")
        names.append(wanted)
        said = [body["like"] for body in bodies if body.get("like") is not None]
        wanted = str(said[-1]) if said else None
    return names[::-1]


def _unknown(layers: Sequence[Layer], wanted: str, names: Sequence[str]) -> UsageError:
    every = sorted({name for each in layers for name in each.profiles})
    import difflib  # not at the top: ranks that only wait do without

    close = difflib.get_close_matches(wanted, every, 1)
    hint = f"did you mean {close[0]}? " if close else ""
    by = f", which {names[-1]} is like" if names else ""
    return UsageError(f"there is no profile {wanted!r}{by}", f"{hint}There are: {', '.join(every)}")


def merge(
    layers: Sequence[Layer],
    names: Sequence[str],
    translate: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda _: {},
) -> dict[Path, Found]:
    """Return each key that has a value -> what counts there.

    names:     profiles, the most general one first
    translate: returns what a profile says in further sections
    """
    found: dict[Path, Found] = {}
    for each in layers:
        _put(found, each.tree, each.place, None)
        for name in names:
            if name in each.profiles:
                body = each.profiles[name]
                own = {key: value for key, value in body.items() if key not in OF_PROFILES}
                _put(found, {**translate(body), "mpidask": own}, each.place, name)
    return found


def _put(found: dict[Path, Found], tree: Mapping[str, Any], place: str, profile: str | None) -> None:
    for spelled, said in flat(tree):
        path, value = normal(spelled), said
        if said == {} and any(key[: len(path)] == path for key in found):
            continue  # a section without keys changes nothing
        fixed: tuple[Any, ...] = found[path].fixed if path in found else ()
        if isinstance(said, list | tuple):
            value = [*(each for each in fixed if each not in said), *said]
            fixed = tuple(value) if profile is not None else fixed
        for other in [key for key in found if key != path and (key[: len(path)] == path or path[: len(key)] == key)]:
            del found[other]  # a section took the place of a value, or a value that of a section
        found[path] = Found(value, spelled, place, profile, fixed)


def flat(tree: Mapping[str, Any], above: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield the keys of all values, as they are spelled; an empty mapping is a value."""
    for key, value in tree.items():
        path = (*above, str(key))
        if isinstance(value, Mapping) and value:
            yield from flat(value, path)
        elif not (isinstance(value, Mapping) and len(path) == 1):
            yield path, value


def nested(found: Mapping[Path, Found], path: Path) -> Any:
    """Return what stands under a key, as the configuration has it: a mapping or a value; None for nothing."""
    if path in found:
        return found[path].value
    tree: dict[str, Any] = {}
    for key, each in found.items():
        if key[: len(path)] == path:
            branch = tree
            for name in each.spelled[len(path) : -1]:
                branch = branch.setdefault(name, {})
            branch[each.spelled[-1]] = each.value
    return tree or None


def normal(path: Sequence[str]) -> Path:
    """Return keys with `_`, however they are spelled."""
    return tuple(each.replace("-", "_") for each in path)
