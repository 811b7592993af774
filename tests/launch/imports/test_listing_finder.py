"""Finding modules by listings: the same as Python finds, or nothing."""

from __future__ import annotations

import importlib
import sys
import zipfile
from importlib.machinery import PathFinder

import pytest

from mpidask.launch.imports.listing_finder import ListingFinder

pytestmark = pytest.mark.one_mpi


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Three directories at the head of sys.path; a function that writes files there."""
    directories = [tmp_path / name for name in ("first", "second", "third")]
    monkeypatch.setattr(sys, "path", [*map(str, directories), *sys.path])
    monkeypatch.setattr(sys, "path_importer_cache", dict(sys.path_importer_cache))

    def write(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(f"NAME = {name!r}\n")
        return tmp_path

    return write


def described(spec):
    return spec and (spec.name, spec.origin, spec.cached, spec.submodule_search_locations, type(spec.loader))


def test_what_is_imported_here_would_be_found_at_the_same_place():
    importlib.import_module("distributed")
    finder, found = ListingFinder(), 0
    for name, module in list(sys.modules.items()):
        parent = sys.modules.get(name.rpartition(".")[0])
        path = getattr(parent, "__path__", None) if "." in name else None
        if getattr(module, "__spec__", None) is None or ("." in name and path is None):
            continue
        spec = finder.find_spec(name, path)
        if spec is not None:
            assert described(spec) == described(PathFinder.find_spec(name, path))
            found += 1
    assert found > 500


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (["second/a.py", "third/a.py"], "second/a.py"),
        (["first/a/data.txt", "second/a.py"], "second/a.py"),
        (["first/a/data.txt", "second/a/__init__.py"], "second/a/__init__.py"),
        (["second/a.py", "second/a/__init__.py"], "second/a/__init__.py"),
        (["second/a", "second/a.py"], "second/a.py"),
        (["second/a.py", "second/a.abi3.so"], "second/a.abi3.so"),
        (["second/a.pyc"], "second/a.pyc"),
        (["first/a/data.txt"], None),
        (["second/b.py"], None),
    ],
)
def test_which_of_several_is_meant(tree, files, found):
    place = tree(*files)
    spec = ListingFinder().find_spec("a")
    assert (spec and spec.origin) == (found and str(place / found))
    if found is not None:
        assert described(spec) == described(PathFinder.find_spec("a"))


@pytest.mark.parametrize("asked", [True, False])
def test_an_archive_is_left_to_python(tree, monkeypatch, asked):
    place = tree("third/a.py")
    with zipfile.ZipFile(place / "archive.zip", "w") as archive:
        archive.writestr("a.py", "NAME = 'archive'\n")
    monkeypatch.setattr(sys, "path", [str(place / "archive.zip"), *sys.path])
    if asked:
        assert PathFinder.find_spec("a").origin.endswith("archive.zip/a.py")
    assert ListingFinder().find_spec("a") is None


def test_what_comes_later_and_what_is_reloaded_is_left_to_python(tree):
    tree("first/a.py")
    finder = ListingFinder()
    assert finder.find_spec("a") is not None
    tree("first/b.py")
    assert finder.find_spec("b") is None
    assert finder.find_spec("a", None, sys) is None


def test_paths_that_are_none(tree, monkeypatch):
    tree("third/a.py")
    monkeypatch.setattr(sys, "path", ["no-such-directory", "", *sys.path])
    assert ListingFinder().find_spec("a") is not None
    assert ListingFinder().find_spec("a", [None]) is None
