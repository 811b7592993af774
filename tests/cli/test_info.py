"""`mpidask info`: what a report of a defect needs, and nothing that is private."""

from __future__ import annotations

import os
import platform

import dask
import pytest

import mpidask
from mpidask.cli import about

pytestmark = pytest.mark.one_mpi


@pytest.fixture
def printed(monkeypatch, capsys, tmp_path):
    """Return a function that returns what is printed, name -> value, where a command `sinfo` does as told."""

    def given(text, system="slurm"):
        (tmp_path / "sinfo").write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "sinfo").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        with dask.config.set({"mpidask.batch.system": system}):
            assert about.COMMANDS["info"][1]([]) == 0
        return {line[:13].strip(): line[14:] for line in capsys.readouterr().out.splitlines()}

    return given


def test_what_a_report_needs(printed, monkeypatch):
    monkeypatch.setenv("DASK_SECRET", "xyzzy")
    found = printed("echo slurm 22.05.8")
    assert found["mpidask"] == mpidask.__version__
    assert found["Python"].startswith(f"{platform.python_version()}, ")
    assert "distributed 20" in found["packages"]
    assert "mpi4py" in found["packages"]
    assert any(char.isdigit() for char in found["MPI library"])
    assert "/mpirun" in found["mpirun"]
    assert found["batch system"] == "Slurm: slurm 22.05.8"
    assert "DASK_SECRET" in found["variables"].split(", ")
    assert "xyzzy" not in str(found), "values may be private"


def test_what_cannot_be_found_is_no_error(printed):
    assert printed("echo no controller >&2; exit 1")["batch system"] == "Slurm: no controller"
    assert printed("exit 3")["batch system"] == "Slurm: exit status 3"
    assert printed("", "nothing")["batch system"] == "there is no batch system 'nothing'"
    assert printed("", "local")["batch system"] == "none: jobs run on this machine"
