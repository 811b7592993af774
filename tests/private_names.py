"""Private names of other libraries in a package of ours: found by reading its source and the classes it derives from.

`python tests/private_names.py` prints them, with the places.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import inspect
import pathlib
import re
import sys
import textwrap
from collections import defaultdict

PACKAGE = pathlib.Path(__file__).resolve().parent.parent / "mpidask"

#: One underscore in front; "_x_" is a protocol's (IPython's _repr_html_).
PRIVATE = re.compile(r"_(?!_)\w*(?<!_)")
#: What Python documents: os._exit, and the module _thread.
PUBLIC = {"_exit", "_thread"}
_BY_NAME = {"getattr", "setattr", "hasattr", "delattr"}


def is_private(name):
    return isinstance(name, str) and name not in PUBLIC and PRIVATE.fullmatch(name) is not None


def module_name(path):
    words = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(words[:-1] if words[-1] == "__init__" else words)


def found():
    """Return private name -> places where the package uses or replaces it, as (module, line)."""
    trees = {path: ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}
    own = set().union(*map(defined, trees.values()))
    places = defaultdict(set)
    for path, tree in trees.items():
        name = module_name(path)
        for private, line in [*by_attribute(tree, own, name), *by_import(tree), *by_inheritance(tree, name)]:
            places[private].add((name, line))
    return dict(places)


def defined(tree):
    """Yield the private names that a module gives to something itself: to a class or function, or to self."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_self(node.value):
            yield node.attr


def is_self(node):
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def of_self(node):
    return is_self(node) or is_super(node)


def is_super(node):
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"


def by_attribute(tree, own, module):
    """Yield what is taken from an object that is not a method's own; in compat every object is another library's."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            if is_self(node.value) or is_super(node.value):
                continue
            if module.startswith("mpidask.compat") or node.attr not in own:
                yield node.attr, node.lineno
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _BY_NAME:
            name = node.args[1].value if isinstance(node.args[1], ast.Constant) else ""
            if is_private(name) and (module.startswith("mpidask.compat") or name not in own):
                yield name, node.lineno


def by_import(tree):
    """Yield names that are imported from another library, and names of its modules, also those in strings."""
    for node in ast.walk(tree):
        words = []
        if isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("mpidask"):
            words = [*(node.module or "").split("."), *(each.name for each in node.names)]
        elif isinstance(node, ast.Import):
            words = [word for each in node.names for word in each.name.split(".")]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            words = node.value.split(".")[1:] if re.fullmatch(r"\w+(\.\w+)+", node.value) else []
        for word in words:
            if is_private(word):
                yield word, node.lineno


def by_inheritance(tree, module):
    """Yield what a class replaces, or takes from self, of a class of another library that it is derived from."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef) or not node.bases:
            continue
        inherited = names_of_foreign_bases(getattr(importlib.import_module(module), node.name, None))
        for inner in ast.walk(node):
            if isinstance(inner, ast.Attribute) and of_self(inner.value) and inner.attr in inherited:
                yield inner.attr, inner.lineno
        for name, line in body(node):
            if name in inherited:
                yield name, line


def body(node):
    for each in node.body:
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
            yield each.name, each.lineno
        elif isinstance(each, ast.Assign):
            yield from ((target.id, each.lineno) for target in each.targets if isinstance(target, ast.Name))
        elif isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
            yield each.target.id, each.lineno


def names_of_foreign_bases(kind):
    bases = inspect.getmro(kind) if inspect.isclass(kind) else ()
    return set().union(*(names_of(base) for base in bases if base.__module__.partition(".")[0] != PACKAGE.name))


@functools.cache
def names_of(kind):
    """Return the private names that a class, or its instances, have by its own source."""
    names = set(vars(kind))
    with contextlib.suppress(OSError, TypeError):  # it is not written in Python
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
        names |= {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_self(node.value)
        }
    return {name for name in names if is_private(name)}


if __name__ == "__main__":
    sys.path.insert(0, str(PACKAGE.parent))
    result = found()
    for name in sorted(result):
        print(
            f"{name:28}",
            ", ".join(f"{module.removeprefix('mpidask.')}:{line}" for module, line in sorted(result[name])),
        )
    print(len(result))
