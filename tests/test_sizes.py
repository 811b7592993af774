"""A house that a newcomer can draw: small rooms, modules, classes and functions, and no circle of modules."""

from __future__ import annotations

import ast
import statistics
from collections import Counter, defaultdict
from pathlib import Path

import pytest

pytestmark = pytest.mark.one_mpi

ROOT = Path(__file__).parents[1]

ROOM = 15  # modules of a folder, besides its __init__
MODULE = 350  # lines
CLASS = 300  # lines, with docstrings
FUNCTION = 45  # lines, with docstring and signature
MEDIAN = 7  # lines of a function
SAME = 6  # lines that stand in two places

TEXTS = {path.relative_to(ROOT): path.read_text(encoding="utf-8") for path in sorted((ROOT / "mpidask").rglob("*.py"))}
TREES = {path: ast.parse(text) for path, text in TEXTS.items()}


def sizes(*kinds):
    """Return module and name of all classes or functions, each with its lines."""
    return [
        (f"{path} {node.name}", node.end_lineno - node.lineno + 1)
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, kinds)
    ]


def too_large(found, most):
    return [(name, size) for name, size in found if size > most]


def test_a_room_has_few_modules():
    rooms = Counter(str(path.parent) for path in TREES if path.name != "__init__.py")
    assert too_large(rooms.items(), ROOM) == []


def test_modules_are_short():
    assert too_large([(str(path), text.count("\n")) for path, text in TEXTS.items()], MODULE) == []


def test_classes_are_short():
    assert too_large(sizes(ast.ClassDef), CLASS) == []


def test_functions_are_short():
    functions = sizes(ast.FunctionDef, ast.AsyncFunctionDef)
    assert too_large(functions, FUNCTION) == []
    assert statistics.median(size for _, size in functions) <= MEDIAN


def lines_of(path):
    """Return number and text of the lines of a module that do something: no imports, docstrings, lists of names."""
    left_out = set()
    for node in ast.walk(TREES[path]):
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        is_list = isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
        if is_text or is_list or isinstance(node, ast.Import | ast.ImportFrom):
            left_out |= set(range(node.lineno, node.end_lineno + 1))
    lines = enumerate(map(str.strip, TEXTS[path].splitlines()), 1)
    return [(number, line) for number, line in lines if line and line[0] != "#" and number not in left_out]


def test_no_six_lines_stand_twice():
    places = defaultdict(list)
    for path in TREES:
        lines = lines_of(path)
        for start in range(len(lines) - SAME + 1):
            some = tuple(line for _, line in lines[start : start + SAME])
            if sum(map(len, some)) > 90:  # else brackets and names of arguments
                places[some].append(f"{path}:{lines[start][0]}")
    assert {lines[0]: found for lines, found in places.items() if len(found) > 1} == {}


def name_of(path):
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def imported(tree, modules):
    """Yield the modules among these that a module imports, be it for types alone or inside a function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name in modules)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for each in node.names:
                inner = f"{node.module}.{each.name}"
                found = inner if inner in modules else node.module
                if found in modules:
                    yield found


def circular(imports):
    """Return the modules of circles, and those that import these."""
    left = dict(imports)
    while free := [name for name, others in left.items() if not others & left.keys()]:
        for name in free:
            del left[name]
    return left


def test_no_modules_import_each_other_in_a_circle():
    """Not for types alone either: who wants to understand one of a circle has to read all of them."""
    modules = {name_of(path) for path in TREES}
    imports = {name_of(path): set(imported(tree, modules)) - {name_of(path)} for path, tree in TREES.items()}
    circles = circular(imports)
    assert {name: others & circles.keys() for name, others in circles.items()} == {}
