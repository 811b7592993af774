"""The quick tests of an environment: the command, workers that stay, endings, deaths, all ways in, and nothing left.

They run in a cell of the matrix (`./do matrix`) and in any other environment that has mpidask and pytest.
Workers are counted some seconds after the start: the worst fault so far was workers that were lost silently.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path

import pytest
from harness import MPI, Launcher, read
from matrix.surroundings import environ

#: A run's deadline, s: on a busy machine all of it takes longer.
DEADLINE = 180

CLIENT = "from distributed import Client\nimport os, sys, time\n"


class Ranks(Launcher):
    """Runs as this MPI needs them, in a home of their own."""

    def __call__(self, n, *arguments, **more):
        return super().__call__(n, *arguments, **{**more, "timeout": DEADLINE})

    def start(self, n, *arguments, **more):
        home = {"HOME": str(self.directory / "home"), "XDG_STATE_HOME": str(self.directory / "state")}
        return super().start(n, *arguments, **{**more, "environ": {**environ(), **home}})


@pytest.fixture
def ranks(tmp_path):
    launcher = Ranks(tmp_path)
    yield launcher
    launcher.clean_up()


def check(ranks, result, status, stdout, words=0):
    """Check how a run ended, and that it left nothing; words: lines on stderr besides banner and closing line."""
    assert (result.status, result.stdout) == (status, stdout), result
    assert len(_words(result)) == words, result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


def _words(result):
    """Return lines that are neither banner nor closing line; Open MPI 4 adds paragraphs if a rank's status is not 0."""
    mpirun = re.compile(r"^-{70,}\n(?:Primary job|mpirun detected).*?^-{70,}\n", re.MULTILINE | re.DOTALL)
    result.stderr = mpirun.sub("", result.stderr)
    return result.words


def test_a_run(ranks):
    script = ranks.script(CLIENT + "c = Client()\nprint(sum(c.gather(c.map(lambda x: x * x, range(100)))))\n")
    result = ranks(4, script)
    check(ranks, result, 0, "328350\n")
    assert "mpidask: scheduler    tls://" in result.stderr, result
    assert "mpidask: the script ended with status 0" in result.stderr, result


WORKERS = """
client = Client()
def count():
    futures = client.map(lambda x: x, range(40), pure=False)
    assert sum(client.gather(futures)) == 780
    return len(client.scheduler_info(n_workers=-1)["workers"]), len(client.run(os.getpid))
count()
time.sleep(4)
print(*count())
time.sleep(1)
print(*count())
"""


def test_workers_stay(ranks):
    check(ranks, ranks(10, ranks.script(CLIENT + WORKERS)), 0, "8 8\n8 8\n")


def test_an_exception(ranks):
    result = ranks(4, ranks.script(CLIENT + "c = Client()\nprint(c.submit(sum, [1, 2]).result())\n1 / 0\n"))
    assert (result.status, result.stdout) == (1, "3\n"), result
    assert result.stderr.count("Traceback (most recent call last)") == 1, result
    assert result.stderr.count("ZeroDivisionError: division by zero") == 1, result
    assert not result.leftover and not ranks.leftovers(), result


def test_sys_exit(ranks):
    script = ranks.script(CLIENT + "c = Client()\nprint(c.submit(sum, [1, 2]).result())\nsys.exit(7)\n")
    check(ranks, ranks(4, script), 7, "3\n")


DEATH = """
def task(flag):
    if not os.path.exists(flag):
        open(flag, "w").close()
        os._exit(4)
    return 3

client = Client()
print(client.submit(task, os.path.abspath("flag.py"), pure=False, retries=2).result())
deadline = time.monotonic() + 90
while len(client.scheduler_info(n_workers=-1)["workers"]) < 2 and time.monotonic() < deadline:
    time.sleep(0.1)
time.sleep(2)
print(len(client.run(os.getpid)))
"""


def test_a_worker_that_dies(ranks):
    result = ranks(4, ranks.script(CLIENT + DEATH))
    check(ranks, result, 0, "3\n2\n", words=1)
    assert "died: exit status 4; it is started again" in result.words[0], result


WAYS = {
    "initialize": "import mpidask\nmpidask.initialize()\nc = Client()\nprint(c.submit(sum, [1, 2]).result())\n",
    "execute": "import mpidask\ndef work(x):\n    with Client() as c:\n        return c.submit(sum, [1, x]).result()\n"
    "value = mpidask.execute(work, 2)\nif value is not None:\n    print(value)\n",
    "Session": "import mpidask\nfrom mpi4py import MPI\nwith mpidask.Session() as s, Client(s) as c:\n"
    "    total = c.submit(sum, [1, 2]).result()\n    print(total)\nassert MPI.COMM_WORLD.allreduce(1) == 3\n",
}


@pytest.mark.parametrize("way", WAYS)
def test_inside_a_script(ranks, way):
    result = ranks.python(3, ranks.script(CLIENT + WAYS[way]))
    check(ranks, result, 0, "3\n")


def test_without_mpirun(ranks):
    script = ranks.script(CLIENT + "c = Client()\nprint(c.submit(sum, [1, 2]).result())\n")
    check(ranks, ranks(0, script), 0, "3\n")


def test_sigterm(ranks):
    """The launcher's status differs; what counts is that all is gone."""
    run = ranks.start(4, ranks.script(CLIENT + "c = Client()\nprint('ready', flush=True)\ntime.sleep(600)\n"))
    run.wait_for("ready", DEADLINE)
    _terminate(run)
    result = run.result(DEADLINE)
    assert result.status != 0, result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


def _terminate(run):
    """Send SIGTERM to mpirun; where that is a shell script, which ends alone, to what it runs, as job scripts do."""
    if Path(MPI.mpirun).read_bytes()[:2] == b"#!":
        for child in map(int, read(run.process.pid, f"task/{run.process.pid}/children").split()):
            os.kill(child, signal.SIGTERM)
    else:
        run.signal(signal.SIGTERM)


JOBS = """
import mpidask

if __name__ == "__main__":
    with mpidask.LocalJobCluster(cores=1, memory="1 GB") as cluster, Client(cluster) as client:
        cluster.scale(jobs=2)
        client.wait_for_workers(2, timeout=90)
        time.sleep(4)
        total = sum(client.gather(client.map(lambda x: x * x, range(100))))
        print(total, len(client.scheduler_info(n_workers=-1)["workers"]), len(client.run(os.getpid)))
"""


def test_a_cluster_of_jobs(ranks):
    result = ranks(0, command=[sys.executable, ranks.script(CLIENT + JOBS)])
    assert (result.status, result.stdout) == (0, "328350 2 2\n"), result
    assert not result.leftover, result
    kept = ranks.scratch / "dask-scratch-space"  # Dask keeps it and its locks, for whoever comes next
    assert {path.suffix for path in kept.rglob("*")} <= {".lock"}, list(kept.rglob("*"))
    assert [path for path in ranks.leftovers() if path != str(kept)] == [], result
