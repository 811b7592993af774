"""Commands of a batch system, and the options among their words and in job scripts (pure)."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mpidask.batch.template import Line, fill

__all__ = ["Command", "filled_words", "is_given", "line_words", "option_lines", "option_value", "option_words"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """A command to run.

    stdin:   what it reads; None for nothing
    without: regular expression: environment variables with such names are kept from it
    """

    argv: tuple[str, ...]
    stdin: str | None = None
    without: str | None = None

    @classmethod
    def parse(cls, line: str) -> Command:
        """Return the command of a command line."""
        return cls(argv=tuple(shlex.split(line)))

    @property
    def program(self) -> str:
        """The program that it runs, past `env` and what that sets."""
        return self.argv[self._at]

    @property
    def _at(self) -> int:
        return next(i for i, word in enumerate(self.argv) if word != "env" and "=" not in word)

    def further(self, words: Sequence[str]) -> Command:
        """Return the command with further words right after its name."""
        after = self._at + 1
        return dataclasses.replace(self, argv=(*self.argv[:after], *words, *self.argv[after:]))

    def within(self, assignments: Sequence[str]) -> Command:
        """Return the command with variables in its environment: NAME=VALUE."""
        return dataclasses.replace(self, argv=("env", *assignments, *self.argv)) if assignments else self


def option_words(text: str, mark: str | None) -> list[str]:
    """Return the words of the option lines in a job script; all the text's without a mark."""
    lines = text.splitlines() if mark is None else option_lines(text, mark)
    return [word for line in lines for word in line_words(line)]


def is_given(options: Sequence[str], words: Sequence[str]) -> bool:
    """Whether one of the options is among words: --time=1, --time 1, -t 1, -t1."""
    short = [option for option in options if re.fullmatch(r"-\w", option)]
    return any(
        word.split("=")[0] in options or any(word.startswith(option) for option in short if word[:2] != "--")
        for word in words
    )


def option_value(words: Sequence[str], names: Sequence[str]) -> str | None:
    """Return the value of the first of these options among words: `--name value`, `--name=value`, `-nvalue`."""
    for word, following in zip(words, [*words[1:], None], strict=False):
        for name in names:
            if word == name:
                return following
            if word.startswith(f"{name}=") and name.startswith("--"):
                return word.removeprefix(f"{name}=")
            if len(name) == len("-x") and word.startswith(name):
                return word.removeprefix(name)
    return None


def option_lines(script: str, mark: str) -> list[str]:
    """Return the option lines of a job script, without their mark: those ahead of its first command."""
    lines: list[str] = []
    for line in script.splitlines():
        if line.startswith(mark):
            lines.append(line.removeprefix(mark))
        elif line.strip() and not line.startswith("#"):
            break
    return lines


def line_words(line: str) -> list[str]:
    """Return the words of an option line, without its comment."""
    with contextlib.suppress(ValueError):  # a quotation that does not end
        return shlex.split(line, comments=True)
    return line.split()


def filled_words(line: Line, fields: Mapping[str, object]) -> tuple[str, ...]:
    """Return a line's words; what is filled in stays one word, a list as many."""
    quoted = {name: _quoted(value) for name, value in fields.items()}
    return tuple(word for text in fill([line], quoted) for word in shlex.split(text))


def _quoted(value: object) -> object:
    if isinstance(value, str | Path):
        return shlex.quote(str(value))
    return shlex.join(value) if isinstance(value, Iterable) else value
