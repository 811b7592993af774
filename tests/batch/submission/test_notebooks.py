"""Notebooks as programs of batch jobs: on real Slurm, with real kernels and papermill's parameters."""

from __future__ import annotations

import pytest
from notebooks import FINDS, outputs, written

pytestmark = [pytest.mark.one_mpi, pytest.mark.thorough]


def test_notebooks_as_jobs(slurm):
    """One that works and one of which a cell fails, side by side: outputs, exit statuses, what is said of them."""
    written(slurm.directory / "study.ipynb", FINDS, parameters="scale = 2")
    written(slurm.directory / "fails.ipynb", "print('before')", "1 / 0", "print('after')")
    good = slurm.submit(*slurm.shape(1, 4), "study.ipynb", "-p", "scale", "10", "--output", "ten.ipynb")
    bad = slurm.submit(*slurm.shape(1, 2), "fails.ipynb")
    each = slurm.until(good, lambda each: each["ended"])
    assert (each["name"], each["state"], each["exit_status"]) == ("study", "done", 0), (each, slurm.log(good))
    assert "scale 30\n" in slurm.log(good)
    assert outputs(slurm.directory / "ten.ipynb") == ["", "", "scale 30\n|'tls'"], (
        "the values are in a cell of their own"
    )

    each = slurm.until(bad, lambda each: each["ended"])
    said = slurm.log(bad)
    assert (each["state"], each["exit_status"]) == ("failed", 1), (each, said)
    assert said.count("ZeroDivisionError: division by zero") == 1, said
    assert outputs(slurm.directory / "fails.executed.ipynb") == ["before\n", "", ""]
    table = slurm.mpidask("status", bad).stdout
    assert "exit status 1" in table and "ZeroDivisionError: division by zero" in table, table
    assert slurm.left_over() == []
