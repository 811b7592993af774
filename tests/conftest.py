"""Fixtures: `ranks` runs programs under the real mpirun of this environment and looks for what they leave behind."""

from __future__ import annotations

import pytest
from harness import MPI, Launcher


def pytest_report_header() -> str:
    return f"MPI: {MPI.name}, {MPI.mpirun}"


@pytest.fixture
def ranks(tmp_path, monkeypatch):
    """Return a Launcher whose runs have a directory, a scratch space and a mark of their own."""
    launcher = Launcher(tmp_path)
    yield launcher
    launcher.clean_up()
