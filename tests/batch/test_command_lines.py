"""What is typed: `mpidask submit`, `script` and the others, before any batch system is asked."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.fixture
def mpidask(tmp_path):
    """Return a function that runs the command."""
    (tmp_path / "script.py").write_text("")

    def run(*words, **environ):
        return subprocess.run(
            [sys.executable, "-m", "mpidask.cli", *words],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
            env={
                **os.environ,
                "XDG_STATE_HOME": str(tmp_path / "state"),
                "DASK_CONFIG": str(tmp_path / "config"),
                **environ,
            },
            check=False,
        )

    return run


MISTAKES = {
    "no script": (["submit"], "no script was given"),
    "no such script": (["submit", "nosuch.py"], "can't open 'nosuch.py'"),
    "no such script behind --": (["submit", "--", "nosuch.py"], "can't open 'nosuch.py'"),
    "an unknown option": (["submit", "--nods", "2", "script.py"], "No such option '--nods'"),
    "an unknown system": (["submit", "--system", "slrum", "script.py"], "did you mean slurm?"),
    "a walltime without a unit": (["submit", "-t", "90", "script.py"], "which unit?"),
    "a walltime that is none": (["submit", "-t", "soon", "script.py"], "a time such as 1:30:00"),
    "no nodes": (["submit", "-N", "0", "script.py"], "nodes is 0"),
    "a name with blanks": (["submit", "-J", "a b", "script.py"], "the job's name is 'a b'"),
    "a wrong option of the run": (["submit", "--nthreads", "0", "script.py"], "--nthreads is 0"),
    "what the system cannot carry": (["submit", "--system", "sge", "--mem", "4GiB", "script.py"], "h_vmem"),
    "nodes without a parallel environment": (["submit", "--system", "sge", "-N", "2", "script.py"], "qconf -spl"),
    "a script to be requeued by hand": (["script", "--system", "slurm", "--requeue", "script.py"], "on record"),
    "no job": (["cancel"], "no job was given"),
    "an unknown job": (["cancel", "4711"], "there is no job '4711' on record"),
    "logs of none": (["logs"], "there is no job on record"),
    "an unknown command": (["sumbit"], "unknown command: sumbit"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(mpidask, name):
    words, said = MISTAKES[name]
    done = mpidask(*words, DASK_MPIDASK__BATCH__SYSTEM="local")
    assert done.returncode == 2, done
    assert said in done.stderr, done
    assert "Traceback" not in done.stderr, done
    assert done.stdout == "", done


def test_help_tells_all_options(mpidask):
    text = mpidask("submit", "--help").stdout
    for word in ("--nodes", "-N", "--walltime", "--directive", "--follow", "--nthreads", "--no-nanny"):
        assert word in text, word
    for name in ("script", "status", "logs", "cancel"):
        assert mpidask(name, "--help").stdout.startswith("Usage: "), name
    assert "mpidask submit -N 2" in mpidask().stdout


def test_options_go_where_they_belong(mpidask):
    words = ["-N", "2", "--nthreads=2", "--ranks-per-node=4", "--no-nanny", "--memory-limit", "1 GiB", "-p", "q"]
    text = mpidask("script", "--system", "slurm", "--python", "python", *words, "script.py", "-N", "9").stdout
    assert "python -m mpidask --nthreads=2 --no-nanny --memory-limit '1 GiB' script.py -N 9)" in text, text
    assert "#SBATCH -N 2\n#SBATCH --ntasks-per-node=4\n" in text, text
    assert "#SBATCH -p q\n" in text, text
    for option in ("-t ", "-A ", "--mem"):
        assert f"#SBATCH {option}" not in text, "what is not given is left to the site"


def test_directives_and_what_stands_behind_dashes_go_untouched(mpidask):
    directives = ["--directive=--exclusive", "--directive", "-C gpu&nvme"]
    text = mpidask("script", "--system", "slurm", *directives, "-m", "package.module", "--", "-x").stdout
    assert "#SBATCH --exclusive\n#SBATCH -C gpu&nvme\n" in text, text
    assert "-m mpidask -m package.module -- -x)" in text, text


def test_follow_may_come_last(mpidask, tmp_path):
    (tmp_path / "script.py").write_text("import sys; print(sys.argv[1:])")
    words = ("submit", "--launcher", "env")
    done = mpidask(*words, "script.py", "--follow", "x", "--follow", DASK_MPIDASK__BATCH__SYSTEM="local")
    assert (done.returncode, "['--follow', 'x']\n" in done.stdout) == (0, True), done
    done = mpidask(*words, "--wait", "--", "script.py", "--follow", DASK_MPIDASK__BATCH__SYSTEM="local")
    assert done.returncode == 0, done
    assert "['--follow']\n" in mpidask("logs").stdout


def test_a_dry_run_leaves_nothing(mpidask, tmp_path):
    done = mpidask("submit", "--dry-run", "--system", "slurm", "script.py")
    assert done.returncode == 0, done
    assert "#SBATCH -J script\n" in done.stdout, done
    assert not (tmp_path / "state").exists()


def test_a_login_node_needs_no_mpi_and_no_servers(mpidask, tmp_path):
    code = (
        "import sys; from mpidask.cli import main; sys.argv[1:] = ['script', '--system', 'slurm', 'script.py']\n"
        "try:\n    main()\nfinally:\n    print(sorted({'mpi4py', 'distributed'} & {*sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False
    )
    assert done.stdout.endswith("\n[]\n"), done


def test_commands_that_do_not_answer_are_no_reason_to_compute_here(mpidask, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sinfo").write_text("#!/bin/sh\necho 'Unable to contact slurm controller' >&2\nexit 1\n")
    (tmp_path / "bin" / "sinfo").chmod(0o755)
    done = mpidask("submit", "script.py", PATH=str(tmp_path / "bin"))
    assert done.returncode == 69, done
    assert "the commands of Slurm are here, but do not answer" in done.stderr, done
    assert "--system local" in done.stderr, done


def test_the_template_has_all_keys(mpidask):
    import yaml

    text = mpidask("config").stdout
    content = yaml.safe_load("\n".join(line.removeprefix("# ") for line in text.splitlines()[1:]))
    assert content["mpidask"]["batch"]["requeue-limit"] == 10
    assert content["mpidask"]["nanny"] is True
