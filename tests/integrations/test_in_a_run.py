"""Frameworks that use a script's client: all in one run of real workers, each in a client of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from harness import Launcher

#: What each script prints.
PRINTS = {
    "joblib": "best {'C': 1, 'gamma': 0.001}",
    "xarray": "mean 2025.5",
    "dask_ml": "deviation 1.0",
    "xgboost": "error below 1: True",
    "lightgbm": "error below 1: True",
}

#: Runs scripts one after another, and notes what each has printed, or how it failed.
ONE_BY_ONE = """
import contextlib, io, json, sys, traceback
from pathlib import Path

said = {}
for path in map(Path, sys.argv[1:]):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            exec(compile(path.read_text(), path, "exec"), {"__name__": "__main__"})
        except BaseException:
            traceback.print_exc(file=printed)
    said[path.stem.removesuffix("_recipe")] = printed.getvalue()
Path("said.json").write_text(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory, recipes):
    """Return what each script printed."""
    launcher = Launcher(tmp_path_factory.mktemp("run"))
    names = [launcher.script(recipes["in a run", name], f"{name}_recipe.py") for name in PRINTS]
    try:
        result = launcher(4, launcher.script(ONE_BY_ONE), *names, timeout=200)
        assert result.status == 0, result
        assert {Path(each).suffix for each in launcher.leftovers()} <= {".json", ".nc"}, result
        return json.loads((launcher.work / "said.json").read_text())
    finally:
        launcher.clean_up()


@pytest.mark.parametrize("name", PRINTS)
def test_recipes_of_a_run(said, name):
    assert PRINTS[name] in said[name].splitlines(), said[name]


def test_every_recipe_of_the_page_is_run(recipes):
    assert {name for where, name in recipes if where == "in a run"} == set(PRINTS)
