"""Accounts, locales and directories that are not as usual: what commands of a login node make of them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.one_mpi

MPIDASK = [sys.executable, "-m", "mpidask.cli"]


@pytest.fixture
def typed(tmp_path):
    """Return a function that runs a command line with its own records, on this machine."""
    (tmp_path / "quick.py").write_text("")
    ours = {"XDG_STATE_HOME": str(tmp_path / "state"), "DASK_MPIDASK__BATCH__SYSTEM": "local"}

    def run(*words, before=(), environ=None, without=()):
        variables = {name: value for name, value in {**os.environ, **ours}.items() if name not in without}
        command = [*before, *MPIDASK, *words]
        options = {"cwd": tmp_path, "env": variables | (environ or {}), "capture_output": True, "text": True}
        return subprocess.run(command, timeout=180, check=False, **options)

    return run


def shell(code):
    return ["sh", "-c", f'{code}; exec "$@"', "sh"]


def test_a_job_is_noted_also_where_stderr_is_closed(typed):
    done = typed("submit", "--wait", "quick.py", before=shell("exec 2>&-"))
    assert (done.returncode, done.stderr) == (0, ""), done
    assert done.stdout.strip() in typed("status", "--all").stdout, done


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["status"], 0, ""),
        (["docs", "LostError"], 0, ""),
        (["submit", "--dry-run", "{script}"], 2, "gone is not there any more"),
    ],
)
def test_a_working_directory_that_is_gone(typed, tmp_path, words, status, said):
    remove = "mkdir gone && cd gone && rmdir ../gone"
    done = typed(*[each.format(script=tmp_path / "quick.py") for each in words], before=shell(remove))
    assert (done.returncode, said in done.stderr, "Traceback" in done.stderr) == (status, True, False), done


def test_an_account_without_home(typed):
    """In a container: no HOME, and nobody knows the user."""
    nobody = ["unshare", "--user", "--map-user=54321"]
    done = typed("status", before=nobody, without=("HOME", "XDG_STATE_HOME"))
    assert (done.returncode, done.stdout) == (2, ""), done
    assert "this account has no home directory here" in done.stderr, done
    given = ["--state-directory", "state", "--dry-run", "quick.py"]
    done = typed("submit", *given, before=nobody, without=("HOME", "XDG_STATE_HOME", "USER", "LOGNAME"))
    assert done.returncode == 0, done


def test_records_that_may_not_be_read(typed, tmp_path):
    (tmp_path / "state" / "mpidask" / "jobs").mkdir(parents=True, mode=0o700)
    (tmp_path / "state" / "mpidask" / "jobs").chmod(0)
    user = (
        ["unshare", "--user", "--map-user=54321"]
        if os.geteuid()
        else ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    )
    done = typed("status", before=user)
    assert done.returncode == 2, done
    assert "cannot be read: Permission denied" in done.stderr, done


def test_a_locale_without_utf_8(typed, tmp_path):
    job = typed("submit", "--wait", "-c", "print('\\u2588' * 3)").stdout.strip().splitlines()[0]
    done = typed("logs", job, environ={"PYTHONIOENCODING": "latin-1"})
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done
    assert "\\u2588\\u2588\\u2588" in done.stdout, done


def test_a_script_whose_name_is_not_utf_8(typed, tmp_path):
    name = b"f\xfcr.py"
    (tmp_path / os.fsdecode(name)).write_text("print('done')")
    done = typed("submit", "--follow", os.fsdecode(name))
    assert (done.returncode, "done\n" in done.stdout, "Traceback" in done.stderr) == (0, True, False), done


def test_the_directory_is_called_as_the_shell_calls_it(typed, tmp_path):
    """Batch systems take PWD for the job's: a link's target may not be there on a node."""
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "sbatch").write_text('#!/bin/sh\ncat >/dev/null\necho "$PWD" >place\necho 7\n')
    (tmp_path / "sbatch").chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    environ = {"DASK_MPIDASK__BATCH__SYSTEM": "slurm", "PATH": path}
    done = typed("submit", "quick.py", before=shell("cd link"), environ=environ)
    assert done.returncode == 0, done
    assert (tmp_path / "place").read_text() == f"{tmp_path}/link\n"
