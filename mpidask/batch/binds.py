"""Which directories of the node a container shows, as text for the shell.

The texts stand within double quotes: a literal one keeps its dollar signs, in one of the user's the node's shell
fills variables in.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable

__all__ = ["Bind", "literal", "opened", "outermost", "quoted"]

#: A colon may stand in ${NAME:-default}, too.
_PAIR = re.compile(r"((?:\$\{[^}]*\}|[^:])*):?(.*)", re.DOTALL)


def literal(text: str) -> str:
    """Return a text that the shell takes as it stands."""
    return re.sub(r'([\\"`$])', r"\\\1", text)


def opened(text: str) -> str:
    """Return a text in which the shell fills in variables."""
    return re.sub(r'([\\"`])', r"\\\1", text)


def quoted(text: str) -> str:
    """Return one of these texts as a word of a command line."""
    return text if re.fullmatch(r"[\w@%+=:,./-]+", text, re.ASCII) else f'"{text}"'


@dataclasses.dataclass(frozen=True)
class Bind:
    """A directory of the node, and where it is in the container.

    there: a path, which options of the runtime may follow
    """

    here: str
    there: str

    @classmethod
    def of(cls, path: str) -> Bind:
        """Return the one of a path that is the same there."""
        return cls(literal(path), literal(path))

    @classmethod
    def parse(cls, text: str) -> Bind:
        """Return the one for what a user gives: DIR or HERE:THERE, in which variables are the node's."""
        match = _PAIR.fullmatch(text)
        assert match is not None  # it matches any text
        here, there = map(os.path.expanduser, match.groups())
        here = opened(here) if "$" in here else literal(os.path.abspath(here))
        return cls(here, opened(there) or here)

    @property
    def pair(self) -> str:
        """What the option for it says."""
        return f"{self.here}:{self.there}"

    def within(self, other: Bind) -> bool:
        """Whether the other one shows it, under the same name."""
        same = self.here == self.there and other.here == other.there
        return self == other or (same and self.here.startswith(f"{other.here}/"))


def outermost(binds: Iterable[Bind]) -> list[Bind]:
    """Return the binds but those that an earlier one shows: an image may have no place for them."""
    found: list[Bind] = []
    for each in binds:
        if not any(each.within(other) for other in found):
            found.append(each)
    return found
