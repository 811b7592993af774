"""`dask mpidask ...`: mpidask's commands as commands of `dask`, by the entry point of the installed package."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mpidask.cli import commands

pytestmark = pytest.mark.one_mpi


def dask(*words):
    return subprocess.run(
        [sys.executable, "-m", "dask", "mpidask", *words], capture_output=True, text=True, timeout=180
    )


def test_a_command_of_a_login_node_runs(tmp_path):
    done = dask(
        "submit", "--state-directory", str(tmp_path), "--system", "slurm", "-N", "2", "--dry-run", "-c", "print(1)"
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    assert "#SBATCH -N 2\n" in done.stdout, done
    done = dask("status", "--nosuch")
    assert done.returncode == 2, done
    assert "mpidask: error: " in done.stderr, done
    assert "Traceback" not in done.stderr, done


def test_what_ranks_run_is_refused():
    """`dask` imports Dask on every rank, before MPI is up."""
    done = dask("run", "-c", "print(1)")
    assert (done.returncode, done.stdout) == (2, ""), done
    assert "mpidask: remedy: mpirun -n 8 mpidask run -c 'print(1)'" in done.stderr, done


@pytest.mark.parametrize("words", [["run", "script.py"], ["serve"], ["--scheduler-file", "file"]])
def test_these_are_for_ranks(words):
    assert commands.is_for_ranks(words)


@pytest.mark.parametrize("words", [[], ["help"], ["--version"], ["run", "--help"], ["serve", "--help-all"], ["status"]])
def test_these_are_not(words):
    assert not commands.is_for_ranks(words)
