"""The script has a process of its own: what holds under plain python holds under the launcher."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest
from harness import MPI, PATIENCE, read
from selection import some

from mpidask.launch.watchdog import agent_process, early_start, script_process
from mpidask.launch.watchdog.early_processes import EarlyProcesses

CLIENT = "from distributed import Client\n"

#: What the interpreter does at its end, and what a rank of MPI cannot do: name -> (script, output, status).
LIKE_PYTHON = {
    "what_is_completed_when_it_is_deleted": (
        CLIENT
        + "import zipfile\nc = Client()\narchive = zipfile.ZipFile('made.py', 'w')\narchive.writestr('a', 'text')\nprint(3)",
        "3\n",
        0,
    ),
    "a_pool_in_a_global": (
        CLIENT
        + "import concurrent.futures as f, os\nif __name__ == '__main__':\n    c = Client()\n"
        + "    pool = f.ProcessPoolExecutor(2)\n    print(list(pool.map(abs, [-1, -2])))",
        "[1, 2]\n",
        0,
    ),
    "a_forked_child_that_exits": (
        CLIENT
        + "import os, sys\nif (pid := os.fork()) == 0:\n    sys.exit(4)\n"
        + "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\nc = Client(); print(c.submit(sum, [1, 2]).result())",
        "4\n3\n",
        0,
    ),
    "a_process_that_is_replaced": (
        "import os, sys\nos.execv(sys.executable, [sys.executable, '-c', 'import sys; print(3); sys.exit(5)'])",
        "3\n",
        5,
    ),
    "a_thread_that_still_writes": (
        "import threading, time\nprint(1, flush=True)\n"
        "threading.Thread(target=lambda: (time.sleep(1), print(2))).start()",
        "1\n2\n",
        0,
    ),
    "a_world_of_its_own": (
        "from mpi4py import MPI\nprint(MPI.COMM_WORLD.rank, MPI.COMM_WORLD.size)\nMPI.COMM_WORLD.Barrier()",
        "0 1\n",
        0,
    ),
    "a_lock_that_is_held": ("import ctypes\nctypes.PyDLL(None).sleep(3)\nprint(3)", "3\n", 0),
    "an_abort": ("import os\nprint(3, flush=True)\nos.abort()", "3\n", 134),
    "what_a_script_is_called": (
        "import sys, __main__\nimport os; print(__name__, __file__ == os.path.abspath(sys.argv[0]), __spec__, sys.argv[1:], __main__.__doc__)\n"
        "print([name for name in globals() if not name.startswith('__') and name not in ('os', 'sys')])",
        "__main__ True None [] None\n[]\n",
        0,
    ),
}


#: Of the others, the generated scripts of test_like_python.py have much.
FIRST = {"a_forked_child_that_exits", "a_pool_in_a_global", "a_lock_that_is_held", "a_world_of_its_own"}


@pytest.mark.parametrize("name", some(LIKE_PYTHON, FIRST))
def test_like_plain_python(ranks, name):
    script, output, status = LIKE_PYTHON[name]
    path = ranks.script(script)
    result = ranks(3, path)
    assert (result.status, result.stdout) == (status, output), result
    assert not result.leftover, result
    if name.startswith("what_is_completed"):
        assert (
            subprocess.run([sys.executable, "-m", "zipfile", "-t", "made.py"], cwd=ranks.work, check=False).returncode
            == 0
        )
    # Open MPI leaves the segments of a program that runs without its launcher, as under plain python.
    left = [each for each in ranks.leftovers() if not (name == "a_world_of_its_own" and "sm_segment" in each)]
    assert not left, result


def test_the_script_has_nothing_of_a_rank(ranks):
    """Neither in its environment nor in its descriptors; the rank that it belongs to has no Dask."""
    script = (
        "import os, sys, time\n"
        "print(sorted(n for n in os.environ if n.startswith(('PMI', 'OMPI_COMM', 'PRTE_', 'HYDI'))))\n"
        "open_ones = [int(d) for d in os.listdir('/proc/self/fd') if os.path.exists(f'/proc/self/fd/{d}')]\n"
        "print([d for d in open_ones if d > 2 and os.get_inheritable(d)])\n"
        "maps = open(f'/proc/{os.getppid()}/maps').read()\n"
        "print('numpy' in maps, 'tornado' in maps)\n"
    )
    result = ranks(4, ranks.script(script))
    shown = result.stdout.splitlines()
    assert (result.status, shown[1:]) == (0, ["[]", "False False"]), result
    assert "PMI_RANK" not in shown[0], result
    assert "OMPI_COMM" not in shown[0], result


@pytest.mark.both_mpis
@pytest.mark.parametrize("n", [1, 4] if MPI.is_mpich else [4])
def test_standard_input(ranks, n):
    """Open MPI 5's mpirun does not close its only rank's input at the end: `mpirun -n 1 cat` hangs, too."""
    script = ranks.script("import sys\nprint(input())\nprint(len(sys.stdin.read()))")
    run = ranks.start(n, script, stdin=subprocess.PIPE)
    run.process.stdin.write(b"first\n" + b"some data\n" * 2000)
    run.process.stdin.close()
    result = run.result(60)
    assert (result.status, result.stdout, result.words) == (0, "first\n20000\n", []), result
    assert not result.leftover, result


@pytest.mark.both_mpis
def test_standard_input_that_nobody_closes(ranks):
    """It does not keep a run from ending."""
    run = ranks.start(4, ranks.script("print(input())"), stdin=subprocess.PIPE)
    os.write(run.process.stdin.fileno(), b"some data\n" * 1000)
    result = run.result(60)
    run.process.stdin.close()
    assert (result.status, result.stdout, result.words) == (0, "some data\n", []), result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1]


@pytest.mark.parametrize("number", some(SIGNALS, [signal.SIGTERM]))
def test_a_signal_to_the_rank_is_the_scripts(ranks, number):
    """A script with a handler goes on; without one the run ends in order with 128 + n."""
    script = (
        "import signal, sys, time\n"
        f"signal.signal({int(number)}, lambda *_: (signal.signal({int(number)}, signal.SIG_DFL), print('told', flush=True)))\n"
        "print('ready', flush=True)\nwhile True:\n    time.sleep(0.05)\n"
    )
    run = ranks.start(4, ranks.script(script))
    run.wait_for("ready")
    os.kill(run.rank(1), number)
    run.wait_for("told")
    os.kill(run.rank(1), number)
    result = run.result(30)
    assert result.status == 128 + number, result
    assert result.words == [f"mpidask: error: the script was ended by {number.name}"], result
    assert not result.leftover, result


def test_threads_are_named_and_waited_for(ranks):
    script = (
        "import os, threading, time\nprint(1, flush=True)\n"
        "def write():\n    while not os.path.exists('go.py'):\n        time.sleep(0.05)\n    print(2)\n"
        "threading.Thread(target=write, name='writer').start()"
    )
    run = ranks.start(2, ranks.script(script))
    run.wait_for("Python waits for its threads: writer\n", file="err")
    ranks.script("", "go.py")
    result = run.result()
    assert (result.status, result.stdout) == (0, "1\n2\n"), result
    assert result.words == ["mpidask: the script has ended; Python waits for its threads: writer"], result


# ------------------------------------------------------------------------- the same Python everywhere
USE = CLIENT + "import helper\nc = Client()\nprint(c.submit(helper.double, 4).result())\n"


def tree(ranks, **files):
    for name, text in files.items():
        path = ranks.work / name.replace("__slash__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("n", "options"), some([(1, ()), (2, ()), (4, ()), (4, ("--no-nanny",))], [(4, ("--no-nanny",))])
)
def test_modules_beside_the_script(ranks, n, options):
    (ranks.work / "src").mkdir()
    (ranks.work / "src" / "helper.py").write_text("def double(x):\n    return 2 * x\n")
    (ranks.work / "src" / "main.py").write_text(USE)
    result = ranks(n, *options, "src/main.py")
    assert (result.status, result.stdout) == (0, "8\n"), result


@pytest.mark.parametrize("options", some(["", "--no-nanny"], [""]))
def test_what_is_set_before_the_first_client_reaches_workers(ranks, options):
    """As under LocalCluster; also those that come later."""
    (ranks.work / "lib").mkdir()
    (ranks.work / "lib" / "helper.py").write_text("def double(x):\n    return 2 * x\n")
    (ranks.work / "data").mkdir()
    restart = "" if options else "c.restart()\n"
    script = f"""
import os, sys
sys.path.insert(0, "lib")
os.chdir("data")
os.environ["MODEL"] = "/models"
import dask
dask.config.set({{"distributed.worker.memory.target": 0.42, "array.chunk-size": "3MiB"}})
import helper
from distributed import Client, get_worker
def look():
    return (os.environ.get("MODEL"), get_worker().memory_manager.memory_target_fraction,
            dask.config.get("array.chunk-size"), os.path.basename(os.getcwd()))
c = Client()
print(c.submit(look).result(), c.submit(helper.double, 4).result())
{restart}print(c.submit(look, pure=False).result(), c.submit(helper.double, 5).result())
"""
    script = script.replace('sys.path.insert(0, "lib")', f"sys.path.insert(0, {str(ranks.work / 'lib')!r})")
    result = ranks(4, *options.split(), ranks.script(script))
    seen = "('/models', 0.42, '3MiB', 'data')"
    assert (result.status, result.stdout) == (0, f"{seen} 8\n{seen} 10\n"), result


def test_files_named_like_modules_of_python_are_not_looked_at(ranks):
    (ranks.work / "jobs").mkdir()
    (ranks.work / "jobs" / "main.py").write_text(CLIENT + "print(Client().submit(sum, [1, 2]).result())")
    for name in ("calendar", "random", "queue"):
        (ranks.work / f"{name}.py").write_text("raise SystemExit('a file of the user')")
    result = ranks(3, "jobs/main.py")
    assert (result.status, result.stdout) == (0, "3\n"), result


# ------------------------------------------------------------------------- every way of asking for a cluster
def test_ways_of_asking_for_a_cluster(ranks):
    script = """
import asyncio, dask
from distributed import Client, LocalCluster
print("none", dask.delayed(sum)([1, 2]).compute())
with LocalCluster(n_workers=7, threads_per_worker=3) as cluster, Client(cluster) as client:
    print("cluster", client.submit(sum, [1, 2]).result(), len(cluster.workers))
client = Client(n_workers=4, processes=False, memory_limit="1GB")
print("client", client.submit(sum, [1, 2]).result(), len(client.scheduler_info()["workers"]))
client.cluster.scale(9); client.cluster.adapt(minimum=1).stop()
client.cluster.wait_for_workers(2)
print("links", client.cluster.dashboard_link == client.dashboard_link, client.cluster.scheduler_address[:6])
client.close()
async def main():
    async with Client(asynchronous=True) as client:
        print("async", await client.submit(sum, [1, 2]))
    async with LocalCluster(asynchronous=True) as cluster, Client(cluster, asynchronous=True) as client:
        print("async", await client.submit(sum, [1, 2]))
asyncio.run(main())
"""
    result = ranks(4, ranks.script(script))
    lines = ["none 3", "cluster 3 2", "client 3 2", "links True tls://", "async 3", "async 3"]
    assert (result.status, result.stdout.splitlines()) == (0, lines), result
    assert len(result.words) == 4, result
    assert "set by the run instead: n_workers, threads_per_worker" in result.words[0], result
    assert "set by the run instead: n_workers, processes, memory_limit" in result.words[1], result
    assert "the size of the run is fixed" in result.words[2], result


def test_what_a_client_imports_is_there_before_the_script(ranks):
    script = """
import sys
from distributed import Client
before = set(sys.modules)
Client().submit(sum, [1, 2]).result()
print([name for name in sorted(sys.modules.keys() - before) if name.startswith(("distributed", "tornado", "mpidask"))])
"""
    result = ranks(3, ranks.script(script))
    assert (result.status, result.stdout) == (0, "[]\n"), result


@pytest.mark.parametrize(
    "way", some(["client.shutdown()", "client.close(); client.cluster.close()"], ["client.shutdown()"])
)
def test_a_clean_cluster_after_the_end_of_one(ranks, way):
    script = f"""
import os
from distributed import Client
pids = set()
for phase in range(3):
    client = Client()
    pids |= set(client.run(os.getpid).values())
    left = client.submit(sum, [phase])
    print(client.submit(sum, range(3 + phase)).result())
    {way}
print(len(pids))
"""
    result = ranks(4, ranks.script(script))
    assert (result.status, result.stdout.split()) == (0, ["3", "6", "10", "6"]), result
    assert not result.words, result
    assert not result.leftover, result


def test_clients_side_by_side(ranks):
    """Threads that need one at once get the same; the end of one cluster leaves the data of others alone."""
    script = """
import os, threading
from concurrent.futures import ThreadPoolExecutor
import dask
from distributed import Client, LocalCluster, wait
def compute(x):
    return dask.delayed(sum)([x, 1]).compute()
with ThreadPoolExecutor(4) as pool:
    print(sorted(pool.map(compute, range(4))))
with dask.config.set(scheduler="threads"):
    print(dask.delayed(os.getpid)().compute() == os.getpid())
outer = Client()
kept = outer.persist(dask.delayed(sum)([1, 2]))
wait(kept)
before = len(os.listdir("/proc/self/fd"))
for _ in range(6):
    with LocalCluster() as cluster, Client(cluster) as client:
        client.submit(sum, [1]).result()
print(outer.compute(kept).result(), len(os.listdir("/proc/self/fd")) - before < 12)
outer.wait_for_workers(99)
"""
    result = ranks(4, ranks.script(script))
    assert (result.status, result.stdout.splitlines()) == (0, ["[1, 2, 3, 4]", "True", "3 True"]), result
    assert result.words[1:] == ["mpidask: the run has 2 workers; 99 are not waited for"], result


def test_what_is_taken_back_reaches_workers_too(ranks):
    script = """
import os
from distributed import Client
def look():
    return os.environ.get("MODEL"), os.path.basename(os.getcwd())
there = os.getcwd()
os.environ["MODEL"] = "1"
os.makedirs("sub"); os.chdir("sub")
with Client() as c: print(*c.submit(look, pure=False).result())
del os.environ["MODEL"]
os.chdir(there); os.rmdir("sub")
with Client() as c: print(c.submit(look, pure=False).result()[0], c.submit(os.getcwd, pure=False).result() == there)
"""
    result = ranks(3, ranks.script(script))
    assert (result.status, result.stdout) == (0, "1 sub\nNone True\n"), result


def test_a_package_as_the_program(ranks):
    """What is imported for it is part of the program."""
    package = ranks.work / "tool"
    package.mkdir()
    (package / "__init__.py").write_text("import sys\nseen = sys.argv[:]")
    (package / "parts.py").write_text("def double(x):\n    return 2 * x\n")
    main = "import sys\nfrom distributed import Client\nfrom tool import seen, parts\nclient = Client()\nprint(client.submit(parts.double, 4).result(), seen, sys.argv[1:])"
    (package / "__main__.py").write_text(main + "\nprint(len(client.scheduler_info()['workers']))")
    result = ranks(4, "-m", "tool", "a")
    assert (result.status, result.stdout) == (0, "8 ['-m', 'a'] ['a']\n2\n"), result
    result = ranks(2, "-m", "tool.nothing")
    assert result.status == 2, result
    assert "no module named 'tool.nothing'" in result.stderr, result


def test_a_local_cluster_on_request(ranks):
    script = """
from distributed import Client, LocalCluster
if __name__ == "__main__":
    with LocalCluster(n_workers=1, processes=False, dashboard_address=None) as cluster, Client(cluster) as client:
        print(type(cluster).__name__, client.submit(sum, [1, 2]).result())
"""
    result = ranks(3, "--local-cluster", ranks.script(script))
    assert (result.status, result.stdout) == (0, "LocalCluster 3\n"), result


# ------------------------------------------------------------------------- small parts
def test_options_of_the_interpreter():
    options = early_start.interpreter_options
    assert options(["python", "-u", "-X", "dev", "-Werror", "-m", "mpidask", "-m", "x"]) == [
        "-u",
        "-X",
        "dev",
        "-Werror",
    ]
    assert options(["python", "-um", "mpidask", "x.py", "-v"]) == ["-u"]
    assert options(["python", "/bin/mpidask", "run", "-O"]) == []
    assert options(["python", "-W", "error", "-OO", "/bin/mpidask"]) == ["-W", "error", "-OO"]


def test_the_likely_rank():
    four, client = mpich(0, 4), script_process.client_rank
    assert [client(environ, ["x.py"]) for environ in (four, mpich(0, 1), {})] == [1, 0, 0]
    assert client(four, ["--client-rank", "3", "x.py"]) == client(four, ["--client-rank=3", "x.py"]) == 3
    assert client({**four, "DASK_MPIDASK__CLIENT_RANK": "0"}, ["x.py"]) == 0


def mpich(rank, size, place=None, here=1):
    """Return what MPICH's launcher tells a rank; place: among those of its node, of which there are so many."""
    where = {} if place is None else {"MPI_LOCALRANKID": str(place)}
    return {"PMI_RANK": str(rank), "PMI_SIZE": str(size), "MPI_LOCALNRANKS": str(here), **where}


@pytest.mark.parametrize(
    ("places", "words", "has_script", "likely"),
    [
        ([0, 1, 2, 3], ["x.py"], True, [0, 2]),  # scheduler; the first of the workers
        ([0, 1, 2, 3], [], False, [0, 1]),
        ([0, 1, 0, 1], ["x.py"], True, [0, 2]),  # two nodes
        ([0, 3, 1, 2], ["x.py"], True, [0, 2]),  # Open MPI with more ranks than cores
        ([0, 0, 0, 0], ["x.py"], True, [0, 2, 3]),
        ([0, 0, 0, 0], ["--workers-per-rank=auto", "x.py"], True, [0, 1, 2, 3]),
        ([0, 1, 2, 3], ["--inclusive-workers", "x.py"], True, [0]),
        ([0, 1, 2, 3], ["--workers-per-rank=2", "x.py"], True, [0]),
        ([0, 1, 2, 3], ["--workers-per-rank=2", "--exclusive-workers", "x.py"], True, [0, 2]),
        ([0, 1, 2, 3], ["--client-rank", "3", "x.py"], True, [0, 1]),
        ([0, 1, 2, 3], ["--no-nanny", "x.py"], True, []),
        ([0, 1, 2, 3], ["--import-cache", "x.py"], True, []),
        ([None] * 4, ["x.py"], True, [0]),
    ],
)
def test_the_likely_agents(places, words, has_script, likely):
    environs = [mpich(rank, 4, place) for rank, place in enumerate(places)]
    found = [
        rank for rank, environ in enumerate(environs) if agent_process.is_likely(environ, words, has_script=has_script)
    ]
    assert found == likely


def test_an_agent_is_not_early_where_the_environment_says_otherwise():
    no_nanny = {"DASK_MPIDASK__NANNY": "false"}
    assert not agent_process.is_likely({**mpich(0, 4, 0), **no_nanny}, ["x.py"], has_script=True)


@pytest.mark.parametrize(
    ("environ", "words", "likely"),
    [
        (mpich(2, 6, 2, 6), [], 1),
        (mpich(2, 6, 2, 6), ["--nthreads=1"], 4),  # 16 cores, 4 workers
        (mpich(2, 6, 2, 6), ["--nthreads", "2"], 2),
        (mpich(2, 6, 2, 6), ["--nthreads", "two"], 1),
        ({**mpich(2, 6, 2, 6), "DASK_MPIDASK__NTHREADS": "1"}, [], 4),
        (mpich(0, 6, 0, 6), ["--nthreads=1"], 1),  # the scheduler alone
        (mpich(0, 1, 0, 1), ["--nthreads=1"], 16),
        (mpich(6, 10, 0, 4), ["--nthreads=1"], 4),  # the second node
        (mpich(0, 2, 0, 2), ["--nthreads=1", "--workers-per-rank=4"], 2),
        (mpich(0, 2, 0, 2), ["--nthreads=1", "--workers-per-rank", "auto"], 1),
        (mpich(2, 3, 2, 3), ["--nthreads=1", "--workers-per-rank=4", "--exclusive-workers"], 4),
        (mpich(2, 34, 2, 34), ["--nthreads=1"], 1),
    ],
)
def test_the_likely_threads_of_numerical_libraries(environ, words, likely):
    assert agent_process.likely_blas_threads(environ, [*words, "x.py"], 16, has_script=True) == likely


@pytest.mark.parametrize(("n", "words"), [(1, []), (3, ["--workers-per-rank", "1", "--exclusive-workers"])])
def test_an_early_agent_fits_threads_that_are_asked_for(ranks, n, words):
    cores = len(os.sched_getaffinity(0))
    script = (
        "from distributed import Client\nimport os\n"
        "def ancestors():\n    import psutil\n    return [' '.join(each.cmdline()) for each in psutil.Process().parents()]\n"
        "client = Client()\nprint(client.submit(lambda: os.environ['OMP_NUM_THREADS']).result())\n"
        "print(any('early=True' in line for line in client.submit(ancestors).result()))\n"
    )
    result = ranks(n, "--nthreads", "1", *words, ranks.script(script))
    assert (result.status, result.stdout) == (0, f"{cores}\nTrue\n"), result


@pytest.mark.parametrize("here", [1, 100_000])
def test_on_a_crowded_node_they_start_when_mpi_is_up(monkeypatch, here):
    """Ranks that wait in MPI_Init spin: a process beside one rank makes it late, and costs all of them."""
    for name, value in mpich(0, 1, 0, here).items():
        monkeypatch.setenv(name, value)
    before = set(psutil.Process().children())  # such as Python's resource tracker
    early = EarlyProcesses.start(["x.py"])
    at_once = set(psutil.Process().children()) - before
    early.mpi_is_up()
    early.mpi_is_up()
    found = early.script(), early.agent()
    children = set(psutil.Process().children()) - before
    for process in found:
        process.discard()
        process.wait()
    assert {child.pid for child in children} == {process.pid for process in found}
    assert at_once == (set() if here > 1 else children)


@pytest.mark.thorough
@pytest.mark.parametrize("rank", some([0, 2], [0]))
def test_another_rank_runs_the_script(ranks, rank):
    """Also one that did not seem to be it before the options were known."""
    environ = {"DASK_CONFIG": str(ranks.directory)}
    (ranks.directory / "mpidask.yaml").write_text(f"mpidask:\n  client-rank: {rank}\n")
    script = CLIENT + "import os\nprint(Client().submit(sum, [1, 2]).result())"
    result = ranks(4, ranks.script(script), environ=environ)
    assert (result.status, result.stdout, result.words) == (0, "3\n", []), result
    assert f"script on rank {rank}" in result.stderr or f"script on rank {rank}," in result.stderr, result


def test_a_terminal_is_the_scripts(ranks):
    """Ctrl-C reaches it once, and it can be typed into."""
    import pty

    script = ranks.script(
        "import time\n"
        "try:\n    print('hello ' + input(), flush=True)\n    for _ in range(600):\n        time.sleep(0.1)\nexcept KeyboardInterrupt:\n    print('once', flush=True)\ntime.sleep(0.5)\nprint('end')"
    )
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ranks.work)
        os.environ["TMPDIR"] = str(ranks.scratch)
        os.execv(sys.executable, [sys.executable, "-m", "mpidask", "--quiet", script])
    seen = b""
    deadline = time.monotonic() + 60 * PATIENCE
    typed = stopped = False
    try:
        os.write(terminal, b"you\n")
        while time.monotonic() < deadline:
            try:
                data = os.read(terminal, 1000)
            except OSError:
                break
            seen += data
            if b"hello you" in seen and not typed:
                typed = True
                time.sleep(0.3)
                os.write(terminal, b"\x03")
            if not data:
                break
        stopped = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        if not stopped:
            os.kill(pid, signal.SIGKILL)
    assert seen.count(b"once") == 1, seen
    assert seen.rstrip().endswith(b"end"), seen
    assert MPI is not None


# ------------------------------------------------------------------------- what cannot be meant
def test_sizes_that_cannot_be_meant(ranks):
    result = ranks(2, "--memory-limit", "3", "-c", "print(3)")
    assert (result.status, result.stdout) == (2, ""), result
    assert "'3', 3 bytes" in result.stderr, result
    assert "'3 GB'" in result.stderr, result
    result = ranks(3, "--min-workers", "5", "-c", "print(3)")
    assert (result.status, result.stdout) == (2, ""), result
    assert "--min-workers is 5, and there are 1 workers" in result.stderr, result


def test_more_than_the_node_has_is_said(ranks):
    result = ranks(2, "--memory-limit", "900 TB", "--nthreads", "999", "-c", "print(3)")
    assert (result.status, result.stdout) == (0, "3\n"), result
    assert [line.split(" on ")[0] for line in result.words] == ["mpidask: warning: workers"] * 2, result
    assert "may use" in result.words[0], result
    assert "999 threads" in result.words[1], result


@pytest.mark.parametrize("way", some(["import", "from"], ["from"]))
def test_dask_mpi_in_a_script_is_ours(ranks, way):
    """Whether it is installed or not: its own would start MPI in a process that is no rank of the run."""
    load = {
        "import": "import dask_mpi\ndask_mpi.initialize(nthreads=2)\nexecute = dask_mpi.execute",
        "from": "from dask_mpi import initialize\nfrom dask_mpi.execute import execute\n"
        "from dask_mpi.exceptions import WorldTooSmallException\ninitialize()",
    }[way]
    script = (
        f"{load}\nfrom distributed import Client\nprint(execute(lambda x: Client().submit(sum, [1, x]).result(), 2))"
    )
    result = ranks(3, ranks.script(script))
    assert (result.status, result.stdout, result.words) == (0, "3\n", []), result


def test_modules_of_dask_mpi_and_dask_jobqueue():
    code = (
        "import mpidask.execute, mpidask.initialize, mpidask.core, mpidask.exceptions\n"
        "assert callable(mpidask.execute) and callable(mpidask.initialize)\n"
        "assert mpidask.execute.execute and mpidask.core.initialize and mpidask.exceptions.WorldTooSmallException\n"
        "from mpidask.jobqueue import core, htcondor, local, lsf, moab, oar, pbs, sge, slurm\n"
        "assert slurm.SLURMCluster and slurm.SLURMRunner and core.JobQueueCluster and local.LocalCluster\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=180)


@pytest.mark.both_mpis
def test_the_runner_of_dask_jobqueue(ranks):
    script = """
from distributed import Client
from mpidask.jobqueue.slurm import SLURMRunner
with SLURMRunner(worker_options={"nthreads": 2}) as runner, Client(runner) as client:
    print(client.submit(sum, [1, 2]).result(), sum(client.nthreads().values()))
"""
    result = ranks.python(4, ranks.script(script))
    assert (result.status, result.stdout, result.words) == (0, "3 4\n", []), result
    assert not result.leftover, result


def _handles(pid, number):
    """Whether a process has a handler for a signal."""
    caught = re.search(r"SigCgt:\s*(\w+)", read(pid, "status"))
    return bool(caught) and bool(int(caught[1], 16) >> (number - 1) & 1)


@pytest.mark.parametrize("after", some([0.0, 0.4, 0.8, 1.2, 1.6, 2.0], [0.8]))
def test_an_interrupt_while_a_run_starts(ranks, after):
    """One line, no traceback, nothing left, whenever it comes; here without a launcher, which may add its own."""
    run = ranks.start(0, "-c", "import time\nfor _ in range(600):\n    time.sleep(0.1)")
    deadline = time.monotonic() + 20 * PATIENCE
    while not _handles(run.process.pid, signal.SIGTERM):  # until then Python alone is there, and says it in its way
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(after)
    os.kill(run.process.pid, signal.SIGINT)
    result = run.result(30)
    if "mpidask: version" not in result.stderr:
        assert (result.status, result.words) == (130, ["mpidask: interrupted while starting"]), result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


def test_workers_that_cannot_run_are_given_up(ranks):
    """Not started again for ever: the run ends, with the reason."""
    script = "import time\nfor _ in range(600):\n    time.sleep(1)"  # without a task: each death counts
    result = ranks(3, "--memory-limit", "30 MiB", ranks.script(script), timeout=90)
    assert result.status not in (0, 130), result
    assert "it is given up: it has died so often without a task" in result.stderr, result
    assert "all workers have died again and again" in result.stderr, result
    assert result.stderr.count("died: it used") <= 6, result
    assert not result.leftover, result
