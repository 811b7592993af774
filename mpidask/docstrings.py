"""Docstrings and signatures of what takes keywords that are described elsewhere."""

from __future__ import annotations

import dataclasses
import inspect
import textwrap
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

__all__ = [
    "DocumentedKeyword",
    "described",
    "entry",
    "keyword_of",
    "show_keywords",
    "with_entries",
    "with_keywords",
]

_Function = TypeVar("_Function", bound=Callable[..., Any])

_WIDTH = 112

#: Numbers are taken where they are meant, too: by the option's metavar.
_NUMBERS = {"SIZE": "str | float", "K": "str | int"}


class DocumentedKeyword(NamedTuple):
    """A keyword that a class takes as one of its ``**keywords``.

    annotation: its type
    kind: what its value may be, in words
    text: what it means
    """

    name: str
    annotation: str
    kind: str
    text: str


def keyword_of(field: dataclasses.Field[Any]) -> DocumentedKeyword:
    """Return the keyword that an option, a field of such a dataclass, is in Python."""
    kind = str(field.type).removesuffix(" | None")
    if kind == "str":
        kind = _NUMBERS.get(field.metadata["metavar"], kind)
    kind = "Sequence[str]" if kind.startswith("tuple") else kind
    expected = f"{kind.replace(' | ', ' or ')}, optional"
    return DocumentedKeyword(field.name, f"{kind} | None", expected, field.metadata["help"])


def entry(name: str, kind: str, text: str) -> str:
    """Return one parameter as numpydoc has it.

    kind: what its value may be, in words
    text: what it means
    """
    return f"{name} : {kind}\n{textwrap.indent(textwrap.fill(text, _WIDTH), '    ')}"


def with_entries(docstring: str | None, entries: Iterable[str], *, before: str) -> str:
    """Return a docstring, without indentation, with more parameters.

    before: the line ahead of which they come
    """
    lines = inspect.cleandoc(docstring or "").split("\n")
    index = lines.index(before) if before in lines else len(lines)  # python -OO has no docstrings
    return "\n".join([*lines[:index], *entries, *lines[index:]])


def with_keywords(signature: inspect.Signature, keywords: Iterable[DocumentedKeyword]) -> inspect.Signature:
    """Return a signature in which the keywords stand for themselves, ahead of its ``**others`` (pure)."""
    *own, others = signature.parameters.values()
    shown = [
        inspect.Parameter(each.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=each.annotation)
        for each in keywords
        if each.name not in signature.parameters
    ]
    return signature.replace(parameters=[*own, *shown, others])


def show_keywords(kind: type, keywords: Iterable[DocumentedKeyword]) -> None:
    """Give a class a docstring and a signature with keywords; those of classes derived from it are their own."""
    keywords = tuple(keywords)
    init: Any = vars(kind)["__init__"]
    init.__signature__ = with_keywords(inspect.signature(init), keywords)
    entries = [entry(each.name, each.kind, each.text) for each in keywords]
    others = list(inspect.signature(init).parameters)[-1]
    kind.__doc__ = with_entries(kind.__doc__, entries, before=f"**{others} : Any")


def described(
    parameters: Mapping[str, tuple[str, str]], raises: Mapping[str, str] | None = None
) -> Callable[[_Function], _Function]:
    """Give a function's docstring the sections Parameters, in the order of its signature, and Raises.

    parameters: name -> what its value may be, in words, and what it means; also of parameters of other functions
    raises:     error -> what it means; None if the docstring has the section
    """

    def describe(function: _Function) -> _Function:
        entries = [_parameter(each, *parameters[each.name]) for each in inspect.signature(function).parameters.values()]
        text = with_entries(function.__doc__, ["Parameters", "----------", *entries, ""], before="Returns")
        if raises is not None:
            section = ["Raises", "------", *(f"{name}\n    {meaning}" for name, meaning in raises.items()), ""]
            text = with_entries(text, section, before="See Also" if "See Also\n" in text else "Examples")
        function.__doc__ = text
        return function

    return describe


#: How a docstring has the names of parameters that take several values.
_STARS: dict[Any, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}


def _parameter(parameter: inspect.Parameter, kind: str, text: str) -> str:
    import json  # which ranks of a session need not

    default = parameter.default
    if default is None:
        kind += ", optional"
    elif default is not parameter.empty:
        kind += f", default {json.dumps(default) if isinstance(default, str) else default}"
    return entry(_STARS.get(parameter.kind, "") + parameter.name, kind, text)
