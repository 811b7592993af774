"""Scripts run as they would under plain python, and the cluster is there."""

from __future__ import annotations

import re
import sys

import pytest
from selection import some

SHOW = """
import os, sys
from distributed import Client

class Point:
    def __init__(self, x): self.x = x

def shift(x): return Point(x + 1)

if __name__ == "__main__":
    client = Client()
    print(sys.argv, __name__, __file__, sys.path[0], __spec__)
    print([p.x for p in client.gather(client.map(shift, range(3)))])
"""


MEMORY = """
    import psutil
    limits = [worker["memory_limit"] for worker in client.scheduler_info(n_workers=-1)["workers"].values()]
    assert 0 < sum(limits) <= psutil.virtual_memory().total, limits
"""


@pytest.mark.parametrize("n", some([0, 1, 2, 3, 4, 8], [0, 1, 2, 4]))
def test_every_size_of_world(ranks, n):
    """Arguments arrive, tasks run, and workers together are given no more memory than the node has."""
    result = ranks(n, ranks.script(SHOW + MEMORY), "a b", "--flag", "-m", "$(id);", timeout=90)
    assert result.status == 0, result
    where = str(ranks.work.resolve())
    assert (
        result.stdout
        == f"['script.py', 'a b', '--flag', '-m', '$(id);'] __main__ {where}/script.py {where} None\n[1, 2, 3]\n"
    ), result
    assert not result.words, result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


@pytest.mark.parametrize("n", some([1, 2, 4], [1]))
def test_inclusive_workers(ranks, n):
    script = "from distributed import Client\nprint(len(Client().scheduler_info(n_workers=-1)['workers']))"
    result = ranks(n, "--inclusive-workers", ranks.script(script))
    assert (result.status, result.stdout, result.words) == (0, f"{n}\n", []), result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


@pytest.mark.parametrize("n", some([1, 2, 3], [3]))
def test_without_nanny(ranks, n):
    result = ranks(n, "--no-nanny", ranks.script(SHOW))
    assert result.status == 0, result
    assert "[1, 2, 3]" in result.stdout, result
    assert not result.words, result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


def test_a_script_without_a_guard_is_run_once(ranks):
    """The child that a nanny starts must not run the script again, nor MPI_Init."""
    script = "print('once')\nfrom mpi4py import MPI\nfrom distributed import Client\nprint(Client().submit(sum, [1]).result())"
    for n in (1, 2, 3):
        result = ranks(n, ranks.script(script))
        assert (result.status, result.stdout, result.words) == (0, "once\n1\n", []), result


def test_module(ranks):
    (ranks.work / "pkg").mkdir()
    (ranks.work / "pkg" / "__init__.py").write_text("")
    (ranks.work / "pkg" / "__main__.py").write_text("import sys\nfrom . import tool\nprint(__package__, sys.argv[1:])")
    (ranks.work / "pkg" / "tool.py").write_text(
        "import sys\nif __name__ == '__main__': print(__spec__.name, sys.argv[1:])"
    )
    environ = {"PYTHONDONTWRITEBYTECODE": "1"}
    result = ranks(3, "-m", "pkg", "--flag", environ=environ)
    assert (result.status, result.stdout) == (0, "pkg ['--flag']\n"), result
    result = ranks(3, "-m", "pkg.tool", "-x", "1", environ=environ)
    assert (result.status, result.stdout) == (0, "pkg.tool ['-x', '1']\n"), result


def test_code(ranks):
    result = ranks(3, "-c", "import sys; print(sys.argv, __name__)", "-x", "a b")
    assert (result.status, result.stdout) == (0, "['-c', '-x', 'a b'] __main__\n"), result


@pytest.mark.thorough
def test_directory_as_program(ranks):
    (ranks.work / "app").mkdir()
    (ranks.work / "app" / "__main__.py").write_text("import sys; print(sys.argv[1:])")
    result = ranks(3, "app", "x", environ={"PYTHONDONTWRITEBYTECODE": "1"})
    assert (result.status, result.stdout) == (0, "['x']\n"), result
    import zipfile

    with zipfile.ZipFile(ranks.work / "zipped.py", "w") as file:
        file.write(ranks.work / "app" / "__main__.py", "__main__.py")
    result = ranks(3, "zipped.py", "y")
    assert (result.status, result.stdout) == (0, "['y']\n"), result


def test_console_command(ranks):
    from pathlib import Path

    command = str(Path(sys.executable).parent / "mpidask")
    result = ranks(3, command=[command, "run", ranks.script(SHOW)])
    assert result.status == 0, result
    assert "[1, 2, 3]" in result.stdout, result
    assert not result.words, result


@pytest.mark.parametrize("n", some([0, 3], [3]))
def test_help_is_printed_once(ranks, n):
    result = ranks(n, "--help")
    assert result.status == 0, result
    assert result.stdout.count("--memory-limit SIZE") == 1, result
    assert result.stderr == "", result


def test_banner_and_closing_line(ranks):
    result = ranks(4, "--nthreads", "3", "--memory-limit", "1 GiB", ranks.script("print(3)"))
    # On a busy machine there is a line on the workers' progress, too, and Dask may complain.
    lines = [line for line in result.stderr.splitlines() if line.startswith("mpidask: ")]
    lines = [line for line in lines if not re.match(r"mpidask: \d+/\d+ workers", line)]
    assert 9 <= len(lines) <= 12, result
    assert "4 ranks on 1 node" in lines[0], result
    assert "scheduler on rank 0, script on rank 1, workers on rank 2-3" in lines[1], result
    assert "2 x 3 threads, 1.0 GiB" in lines[2], result
    assert lines[-1].startswith("mpidask: the script ended with status 0 after "), result
    assert ranks(4, "--quiet", ranks.script("print(3)")).stderr == ""


def test_precedence_option_environment_default(ranks):
    script = ranks.script(
        "from distributed import Client\nc = Client()\n"
        "print({w['nthreads'] for w in c.scheduler_info(n_workers=-1)['workers'].values()},\n"
        "      {w['memory_limit'] for w in c.scheduler_info(n_workers=-1)['workers'].values()})"
    )
    (ranks.work / "mpidask.yaml.py").write_text("")
    config = ranks.directory / "config"
    config.mkdir()
    (config / "mpidask.yaml").write_text("mpidask:\n  nthreads: 5\n  memory-limit: 300 MiB\n")
    environ = {"DASK_CONFIG": str(config)}
    assert ranks(3, script, environ=environ).stdout == "{5} {314572800}\n"
    environ["DASK_MPIDASK__NTHREADS"] = "4"
    assert ranks(3, script, environ=environ).stdout == "{4} {314572800}\n"
    assert ranks(3, "--nthreads", "2", script, environ=environ).stdout == "{2} {314572800}\n"


def test_what_a_worker_gets(ranks):
    """Its environment, a directory of its own, and an address on loopback, where all ranks share a node."""
    script = ranks.script(
        "import os, psutil, resource\nfrom distributed import Client, get_worker\n"
        "def look():\n"
        "    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "    assert soft == hard, (soft, hard)\n"
        "    directory = get_worker().local_directory\n"
        "    return (os.environ['OMP_NUM_THREADS'], sorted(k for k in os.environ if k.startswith(('PMI', 'OMPI_COMM'))),\n"
        "            oct(os.stat(os.path.dirname(os.path.dirname(directory))).st_mode & 0o777), directory, os.getcwd())\n"
        "def worker():\n"
        "    return {s.laddr.ip for s in psutil.Process().net_connections('tcp') if s.status == 'LISTEN'}\n"
        "def scheduler(dask_scheduler):\n"
        "    return dask_scheduler.address, dask_scheduler.http_server.address\n"
        "c = Client()\n"
        "print(*c.submit(look).result(), sep='\\n')\n"
        "print(set().union(*c.run(worker).values()), len(c.run(worker)))\n"
        "print({a.split(':')[1].strip('/') if '//' in a else a for a in c.run_on_scheduler(scheduler)})"
    )
    result = ranks(4, command=["sh", "-c", 'ulimit -Sn 500; exec "$0" "$@"', sys.executable, "-m", "mpidask", script])
    assert result.status == 0, result
    blas, identity, mode, directory, cwd, *listening = result.stdout.splitlines()
    assert (blas, identity, mode, cwd) == ("1", "[]", "0o700", str(ranks.work)), result
    assert directory.startswith(str(ranks.scratch)), result
    assert listening == ["{'127.0.0.1'} 2", "{'127.0.0.1'}"], result
