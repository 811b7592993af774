"""Fixtures: `ranks` runs programs under the real mpirun of this environment and looks for what they leave behind."""

from __future__ import annotations

import os

import pytest
from harness import MPI, Launcher


def pytest_addoption(parser):
    parser.addoption("--write-jobs", action="store_true", help="write jobs/*/*.sh anew instead of comparing them")


def pytest_collection_modifyitems(config, items):
    """Under Open MPI leave out what shows nothing there that it does not show under MPICH: time is short."""
    kept = [item for item in items if MPI.is_mpich or _shows_something(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


def _shows_something(item):
    system = getattr(item, "callspec", None) and item.callspec.params.get("system")
    alone = item.get_closest_marker("one_mpi") or "batch" in item.path.parts
    return not alone or (item.get_closest_marker("both_mpis") and system not in ("local", "torque"))


def pytest_report_header() -> str:
    return f"MPI: {MPI.name}, {MPI.mpirun}"


@pytest.fixture
def ranks(tmp_path, monkeypatch):
    """Return a Launcher whose runs have a directory, a scratch space and a mark of their own."""
    launcher = Launcher(tmp_path)
    yield launcher
    launcher.clean_up()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Where everything can be had, as in continuous integration, a skip hides a failure."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("MPIDASK_NO_SKIPS"):
        report.outcome = "failed"
        report.longrepr = f"skipped where skips are failures: {report.longrepr}"
    return report
