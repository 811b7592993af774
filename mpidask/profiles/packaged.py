"""The profiles that mpidask brings: the files NAME.yaml of this folder."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mpidask.profiles.layers import Layer

__all__ = ["LAYER", "file_of"]

_FOLDER = Path(__file__).parent


class _Files(Mapping[str, Mapping[str, Any]]):
    """Name -> profile; each is read when it is asked for."""

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        if name not in self:
            raise KeyError(name)
        return _read(name)

    def __contains__(self, name: object) -> bool:
        return name in _names()

    def __iter__(self) -> Iterator[str]:
        return iter(_names())

    def __len__(self) -> int:
        return len(_names())


@functools.cache
def _names() -> tuple[str, ...]:
    return tuple(sorted(each.stem for each in _FOLDER.glob("*.yaml")))


@functools.cache
def _read(name: str) -> Mapping[str, Any]:
    import yaml

    found: Mapping[str, Any] = yaml.safe_load(Path(file_of(name)).read_text(encoding="utf-8"))
    return found


def file_of(name: str) -> str:
    """Return the file of a profile."""
    return str(_FOLDER / f"{name}.yaml")


#: The lowest layer: it counts only where nothing else says anything.
LAYER = Layer(str(_FOLDER), {}, _Files())
