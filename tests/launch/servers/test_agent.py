"""The agents: workers of a node are forked from one process, and each of them may die without the others."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import signal
import sys
import textwrap
import time

import pytest
from harness import PATIENCE, marked, read, read_environ
from selection import some

from mpidask import run_directory
from mpidask.launch.resources import sharing
from mpidask.launch.resources.division import Facts, Gpu, Limit, WorkerSpec
from mpidask.launch.resources.gpus import VISIBLE_DEVICES

CONNECT = "from distributed import Client\nimport os, sys, time\nclient = Client()\n"
NAMES = CONNECT + "print(sorted(str(each['name']) for each in client.scheduler_info(-1)['workers'].values()))\n"
SLEEPER = CONNECT + "print('ready', flush=True)\ntime.sleep(600)\n"

#: Where workers are: ranks, options, their names.
PLACES = {
    "one rank for all": (1, ["--workers-per-rank", "3"], ["0-0", "0-1", "0-2"]),
    "scheduler and script host some, too": (2, ["--workers-per-rank", "2"], ["0-0", "0-1", "1-0", "1-1"]),
    "unless they are not to": (3, ["--workers-per-rank", "2", "--exclusive-workers"], ["2-0", "2-1"]),
    "one is the default": (4, ["--workers-per-rank", "1"], ["2", "3"]),
}


@pytest.mark.parametrize("name", some(PLACES, ["one rank for all", "unless they are not to"]))
def test_a_rank_hosts_as_many_workers_as_it_is_told(ranks, name):
    n, options, names = PLACES[name]
    result = ranks(n, *options, ranks.script(NAMES))
    assert result.status == 0, result
    assert result.stdout == f"{names}\n", result
    assert not result.words, result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


@pytest.mark.thorough
def test_auto_is_a_worker_per_core_of_a_small_rank(ranks):
    script = ranks.script(NAMES)
    result = ranks(1, "--workers-per-rank", "auto", script)
    cores = len(os.sched_getaffinity(0))
    assert result.status == 0, result
    assert len(eval(result.stdout)) == min(cores, 4) or cores > 4, result
    result = ranks(1, "--workers-per-rank", "auto", "--nthreads", str(cores), script)
    assert len(eval(result.stdout)) == 1, result


@pytest.mark.parametrize("value", some(["0", "-1", "many", "1.5"], ["0", "many"]))
def test_a_number_of_workers_that_makes_no_sense(ranks, value):
    result = ranks(2, f"--workers-per-rank={value}", ranks.script("print('never')"))
    assert result.status == 2, result
    assert f"--workers-per-rank is '{value}'" in result.stderr, result
    assert "from 1 up is needed, or auto" in result.stderr, result


# Modules.

#: A module that tells each process which executes it.
TELLS = "import os\nopen(os.path.join(os.path.dirname(__file__), 'told.py'), 'a').write(f'{os.getpid()}\\n')\n"


@pytest.mark.parametrize("n", some([1, 3], [3]))
def test_what_workers_start_with_is_imported_once_per_node(ranks, n):
    ranks.script(TELLS, "told_once.py")
    script = ranks.script(
        CONNECT
        + "assert 'told_once' not in sys.modules\n"
        + "assert all(client.run(lambda: 'told_once' in sys.modules and 'decimal' in sys.modules).values())\n"
        + "print(len(client.run(os.getpid)))\n"
    )
    options = ["--workers-per-rank", "3", "--preload-import", "told_once,decimal"]
    result = ranks(n, *options, script, environ={"PYTHONPATH": str(ranks.work)})
    assert result.status == 0, result
    assert result.stdout == f"{3 * n}\n", result
    told = (ranks.work / "told.py").read_text().split()
    assert len(told) == 1, "in the node's agent, not in its workers"


@pytest.mark.thorough
@pytest.mark.parametrize("nanny", some(["--nanny", "--no-nanny"], ["--nanny"]))
def test_a_module_that_cannot_be_imported(ranks, nanny):
    ranks.script("raise RuntimeError('out of order')", "broken.py")
    script = ranks.script("print('never')")
    options = [nanny, "--preload-import", "decimal,broken", "--preload-import", "no_such_module"]
    result = ranks(4, *options, script, environ={"PYTHONPATH": str(ranks.work)})
    assert result.status == 69, result
    assert "broken: RuntimeError: out of order" in result.stderr, result
    assert "no_such_module: ModuleNotFoundError" in result.stderr, result
    assert "decimal:" not in result.stderr, result
    assert result.stderr.count("mpidask: error:") == 1, result
    assert "Traceback" not in result.stderr, result
    assert "never" not in result.stdout, result
    assert not result.leftover, result
    result = ranks(2, "--preload-import", "num-py", script)
    assert result.status == 2, result
    assert "--preload-import names 'num-py'" in result.stderr, result


def test_workers_do_not_read_the_machines_certificates(ranks):
    """It takes 20 ms; tornado does it for the first TLS connection of a process."""
    ranks.script(
        "import ssl\n"
        "read, calls = ssl.SSLContext.load_default_certs, []\n"
        "ssl.SSLContext.load_default_certs = lambda *given: (calls.append(given), read(*given))\n"
        "import asyncio, sys\n"  # as some packages do while they are imported
        "loop = asyncio.get_event_loop() if sys.version_info < (3, 14) else None\n",
        "counted.py",
    )
    script = ranks.script(CONNECT + "import counted\nprint(client.run(lambda: len(counted.calls)).values())\n")
    result = ranks(3, "--preload-import", "counted", script, environ={"PYTHONPATH": str(ranks.work)})
    assert result.stdout == "dict_values([0])\n", result


def test_a_worker_without_a_nanny_starts_with_them_too(ranks):
    script = ranks.script(CONNECT + "print(list(client.run(lambda: 'decimal' in sys.modules).values()))\n")
    result = ranks(3, "--no-nanny", "--preload-import", "decimal", script)
    assert result.stdout == "[True]\n", result


def test_workers_are_forked_from_one_process(ranks):
    """Their parent is the fork server, the fork server's the agent, the agent's the rank: no second interpreter."""
    run = ranks.start(3, "--workers-per-rank", "3", "--exclusive-workers", ranks.script(SLEEPER))
    run.wait_for("ready")
    rank = run.rank(2)
    trackers = [pid for pid in marked(run.mark) if "resource_tracker" in read(pid, "cmdline")]
    agents = [pid for pid in marked(run.mark) if _parent(pid) == rank and pid not in trackers]
    assert len(agents) == 1
    (server,) = [pid for pid in marked(run.mark) if _parent(pid) == agents[0] and pid not in trackers]
    workers = [pid for pid in marked(run.mark) if _parent(pid) == server]
    assert len(workers) == 3
    assert len({read(pid, "cmdline") for pid in (*agents, server, *workers)}) == 1, "none was exec'ed"
    assert "libmpi" in read(rank, "maps")
    for pid in (*agents, server, *workers):
        assert "libmpi" not in read(pid, "maps")
        assert not [name for name in read_environ(pid) if name in ("PMI_RANK", "OMPI_COMM_WORLD_RANK")]
    run.signal(signal.SIGTERM)
    result = run.result()
    assert not result.leftover, result
    assert not ranks.leftovers(), result


def _parent(pid: int) -> int:
    fields = read(pid, "stat").rpartition(")")[2].split()
    return int(fields[1]) if fields else 0  # it may have ended since it was listed


# Deaths.


def test_a_worker_that_dies_leaves_those_beside_it_alone(ranks):
    script = ranks.script(
        CONNECT
        + "pids = client.run(os.getpid)\n"
        + "first = next(iter(pids))\n"
        + "def crash(flag):\n"
        + "    if not os.path.exists(flag):\n"
        + "        open(flag, 'w').close()\n"
        + "        os.kill(os.getpid(), 9)\n"
        + "    return 3\n"
        + "print(client.submit(crash, os.path.abspath('flag.py'), workers=[first], allow_other_workers=True).result())\n"
        + "client.wait_for_workers(3)\n"
        + "print(len(set(client.run(os.getpid).values()) & set(pids.values())))\n"
    )
    result = ranks(1, "--workers-per-rank", "3", script)
    assert result.status == 0, result
    assert result.stdout == "3\n2\n", result
    assert sum(" died: signal 9 (SIGKILL); it is started again" in line for line in result.words) == 1, result
    assert not result.leftover, result


def _agent(run, rank: int) -> int:
    """Return the agent of a rank."""
    parent = run.rank(rank)
    mine = [pid for pid in marked(run.mark) if _parent(pid) == parent]
    return next(pid for pid in mine if "launch.servers.agent" in read(pid, "cmdline"))


AFTER = CONNECT + (
    "print('ready', flush=True)\n"
    "while not os.path.exists('go.py'):\n    time.sleep(0.05)\n"
    "print(client.submit(sum, [1, 2]).result(), flush=True)\n"
)


def test_an_agent_that_is_lost_is_replaced(ranks):
    """Its workers come back under their names, and what they had to do is done."""
    script = CONNECT + (
        "names = lambda: sorted(each['name'] for each in client.scheduler_info(-1)['workers'].values())\n"
        "def work(go):\n    while not os.path.exists(go):\n        time.sleep(0.05)\n    time.sleep(3)\n"
        "before, task = names(), client.submit(work, os.path.abspath('go.py'))\n"
        "print('ready', flush=True)\n"
        "task.result()\n"
        "client.wait_for_workers(2)\n"
        "print(before == names() == [2, 3])\n"
    )
    run = ranks.start(4, ranks.script(script))
    run.wait_for("ready")
    os.kill(_agent(run, 2), signal.SIGKILL)
    ranks.script("", "go.py")
    result = run.result()
    assert result.status == 0, result
    assert "True\n" in result.stdout, result
    (line,) = result.words
    assert "warning: the process with the workers of 2 ranks, on " in line, result
    assert " ended (-9); it is started again" in line, result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


def test_a_worker_that_does_not_come_back_leaves_those_beside_it_alone(ranks):
    """Of the workers that take the place of lost ones."""
    preload = ranks.script(
        "import os\ntry:\n    os.rename('broken.py', 'was_broken.py')\nexcept FileNotFoundError:\n    pass\n"
        "else:\n    raise ValueError('out of order')\n",
        "preload.py",
    )
    script = CONNECT + (
        "agents = set(client.run(os.getppid).values())\n"
        "print('ready', flush=True)\n"
        "while not (os.path.exists('was_broken.py') and len(client.scheduler_info(-1)['workers']) == 2):\n"
        "    time.sleep(0.1)\n"
        "print(agents & set(client.run(os.getppid).values()))\n"
        "while not os.path.exists('go.py'):\n    time.sleep(0.05)\n"
    )
    run = ranks.start(5, ranks.script(script), environ={"DASK_DISTRIBUTED__WORKER__PRELOAD": preload})
    run.wait_for("ready")
    ranks.script("", "broken.py")
    os.kill(_agent(run, 2), signal.SIGKILL)
    run.wait_for("does not come back", file="err")
    ranks.script("", "go.py")
    result = run.result()
    assert (result.status, result.stdout) == (0, "ready\nset()\n"), result
    lost, left_out = result.words
    assert "the process with the workers of 3 ranks" in lost, result
    assert re.search(r"warning: worker [234] on \S+ does not come back: ValueError: out of order", left_out), result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


def test_an_early_agent_that_does_not_fit_begins_anew(ranks):
    """Its variables and Dask's configuration turn out to be others than those that it has imported with."""
    script = CONNECT + (
        "names = ('OF_A_TASK', 'MALLOC_TRIM_THRESHOLD_')\n"
        "def ancestors():\n    import psutil\n    return [' '.join(each.cmdline()) for each in psutil.Process().parents()]\n"
        "print(client.submit(lambda: [os.environ.get(name) for name in names]).result())\n"
        "print(sorted({word for line in client.submit(ancestors).result() for word in ('early=True', 'early=False') if word in line}))\n"
    )
    given = "{'OF_A_TASK': '1', 'MALLOC_TRIM_THRESHOLD_': None}"
    environ = {"DASK_DISTRIBUTED__NANNY__PRE_SPAWN_ENVIRON": given, "DASK_DISTRIBUTED__COMM__OFFLOAD": "11MB"}
    result = ranks(3, ranks.script(script), environ=environ)
    assert result.status == 0, result
    assert result.stdout == "['1', None]\n['early=False']\n", result
    assert not result.words, result
    assert not result.leftover, result


def test_a_lost_scheduler_ends_the_run(ranks):
    run = ranks.start(4, ranks.script(SLEEPER))
    run.wait_for("ready")
    os.kill(_agent(run, 0), signal.SIGKILL)
    result = run.result(30)
    assert result.status == 70, result
    assert "error: the process with this rank's servers, on rank 0 on" in result.stderr, result
    assert not result.leftover, result


@pytest.mark.thorough
def test_a_scheduler_that_is_stopped_ends_the_run(ranks):
    """It is in a process beside its rank, which would wait for it until the walltime."""
    run = ranks.start(4, ranks.script(SLEEPER))
    run.wait_for("ready")
    os.kill(_agent(run, 0), signal.SIGSTOP)
    result = run.result(60)
    assert result.status != 0, result
    assert "the process with the scheduler, beside rank 0 (scheduler)" in result.stderr, result
    assert "has been stopped (SIGSTOP) for 10 s; the run cannot go on" in result.stderr, result
    assert not result.leftover, result


def test_a_scheduler_that_is_lost_while_workers_start_is_no_good_end(ranks):
    """It is not taken for one that a client has shut down."""
    coming, up = ranks.directory / "coming", ranks.directory / "up.json"
    (ranks.directory / "late.py").write_text(f"import time\nopen({str(coming)!r}, 'w').close()\ntime.sleep(600)\n")
    options = ["--preload-import", "late", "--scheduler-file", str(up)]
    run = ranks.start(4, *options, ranks.script(SLEEPER), environ={"PYTHONPATH": str(ranks.directory)})
    deadline = time.monotonic() + 60 * PATIENCE
    while not (coming.exists() and up.exists()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(_agent(run, 0), signal.SIGKILL)
    result = run.result(60)
    assert result.status == 70, result
    assert "ended while workers started" in result.stderr, result
    assert not result.leftover, result


@pytest.mark.parametrize("nanny", ["--nanny", "--no-nanny"])
def test_a_signal_to_all_ranks_lets_the_script_end(ranks, nanny):
    """As at the walltime: the script saves, and ends by itself while other ranks would end the run soon."""
    script = CONNECT + (
        "import asyncio, signal\nfrom distributed import WorkerPlugin\n"
        "class Slow(WorkerPlugin):\n    async def teardown(self, worker):\n        await asyncio.sleep(30)\n"
        "client.register_plugin(Slow())\n"
        "def save(number, frame):\n    time.sleep(0.5)\n    print('saved', flush=True)\n    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, save)\n"
        "task = client.submit(time.sleep, 600)\nprint('ready', flush=True)\n"
        "for _ in range(600):\n    time.sleep(1)\n"  # a signal may come just before a sleep
    )
    run = ranks.start(4, nanny, ranks.script(script))
    run.wait_for("ready")
    for pid in [run.rank(rank) for rank in range(4)]:  # all at once: they are found before
        os.kill(pid, signal.SIGTERM)
    result = run.result(30)
    assert (result.status, result.stdout) == (0, "ready\nsaved\n"), result
    assert not result.leftover, result


def lose(run, *hosts: int) -> None:
    """Kill the agents of these ranks until each has been lost five times."""
    lost: dict[int, set[int]] = {rank: set() for rank in hosts}
    deadline = time.monotonic() + 60 * PATIENCE
    while any(len(agents) < 5 for agents in lost.values()):
        assert time.monotonic() < deadline, lost
        for rank, agents in lost.items():
            with contextlib.suppress(StopIteration, OSError, IndexError):  # it comes or goes
                agent = _agent(run, rank)
                if agent not in agents:
                    os.kill(agent, signal.SIGKILL)
                    agents.add(agent)
        time.sleep(0.1)


def test_a_run_whose_only_agent_is_lost_again_and_again_ends(ranks):
    run = ranks.start(3, ranks.script(SLEEPER))
    run.wait_for("ready")
    lose(run, 2)
    result = run.result()
    assert result.status not in (0, None), result
    assert "again and again; no worker is left, and the run ends" in result.stderr, result
    assert "Traceback" not in result.stderr, result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


def apart(rank: int, *arguments: str, python: bool = False) -> list[str]:
    """Return a command with which this rank has an agent of its own; python: without the launcher."""
    other = f'[ "${{PMI_RANK:-$OMPI_COMM_WORLD_RANK}}" = {rank} ] && export OF_THE_RANK=1; exec "$0" "$@"'
    return ["sh", "-c", other, sys.executable, *([] if python else ["-m", "mpidask"]), *arguments]


def ends_without_workers(run, *hosts: int, says: str):
    """Have these ranks, which are all that host workers, lose their agents until they give them up."""
    lose(run, *hosts)
    result = run.result()
    assert result.status == 70, result
    assert result.stderr.count("again and again; the run goes on without them") == len(hosts), result
    assert f"error: all workers have {says}; the run ends" in result.stderr, result
    assert "Traceback" not in result.stderr, result
    assert not result.leftover, result


def test_a_run_ends_when_all_its_agents_have_been_given_up(ranks):
    """None of them goes on for the sake of the others' workers."""
    run = ranks.start(4, command=apart(3, ranks.script(SLEEPER)))
    run.wait_for("ready")
    ends_without_workers(run, 2, 3, says="died again and again and are given up")
    assert not ranks.leftovers()


def test_workers_of_a_cluster_elsewhere_that_have_all_been_given_up_are_no_good_end(ranks):
    words = ["-c", "import sys; sys.argv[0] = 'mpidask'; from mpidask.cli import main; main()", "serve"]
    words += ["--scheduler-file", str(ranks.directory / "cluster.json")]
    cluster = ranks.start(2, command=[sys.executable, *words])
    cluster.wait_for("mpidask: scheduler", file="err")
    joined = ranks.start(2, command=apart(1, *words, "--no-scheduler", python=True))
    joined.wait_for(", joined", file="err")  # whoever is lost before it is watched over is noticed as well
    ends_without_workers(joined, 0, 1, says="been given up")
    cluster.signal(signal.SIGTERM)
    assert not cluster.result(20).leftover


#: A script beside an agent that is lost: it goes on, and what it has started.
BESIDE = """
import subprocess
child = subprocess.Popen(['sleep', '600'])
def addresses():
    return {each['name']: address for address, each in client.scheduler_info(-1)['workers'].items()}
before = addresses()
print('ready', flush=True)
while (now := addresses()).get(1) in (None, before[1]):
    time.sleep(0.1)
print(client.submit(sum, [1, 2], workers=[now[1]]).result(), now[0] == before[0], child.poll())
child.kill()
"""
SESSION = """
import os, sys, time
import mpidask
from distributed import Client
with mpidask.Session(inclusive_workers=True) as session, Client(session) as client:
"""


@pytest.mark.parametrize("own", [False, True], ids=["launcher", "session"])
def test_an_agent_beside_the_script_is_replaced(ranks, own):
    """Also where the script is in the rank itself."""
    if own:
        body = SESSION + textwrap.indent(BESIDE, "    ")
        command = apart(1, ranks.script(body), python=True)
    else:
        command = apart(1, "--inclusive-workers", ranks.script(CONNECT + BESIDE))
    run = ranks.start(2, command=command)
    run.wait_for("ready")
    os.kill(_agent(run, 1), signal.SIGKILL)
    result = run.result()
    assert (result.status, result.stdout) == (0, "ready\n3 True None\n"), result
    (line,) = result.words
    assert "warning: the process with the workers of rank 1, on " in line, result
    assert " ended (-9); it is started again" in line, result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


#: What each worker says of itself: its name, its agent's fork server, its cores, two variables, its log.
LOOK = CONNECT + (
    "def look(dask_worker):\n"
    "    print('worker', dask_worker.name, flush=True)\n"
    "    variables = os.environ.get('OF_THE_RANK'), os.environ['GPU_DEVICE_ORDINAL']\n"
    "    return dask_worker.name, os.getppid(), sorted(os.sched_getaffinity(0)), *variables\n"
    "found = sorted(client.run(look).values())\n"
    "servers = [each[1] for each in found]\n"
    "print([(name, servers.index(server), *more) for name, server, *more in found])\n"
)


@pytest.mark.both_mpis
def test_a_worker_has_what_its_rank_has(ranks):
    """Cores and what shows devices are given to it; a variable that only one rank has makes an agent of its own."""
    cores = sorted(os.sched_getaffinity(0))
    wrapper = (
        'r="${PMI_RANK:-$OMPI_COMM_WORLD_RANK}"; export GPU_DEVICE_ORDINAL="$r"; [ "$r" = 5 ] && export OF_THE_RANK=5; '
        f'[ "$r" = 3 ] && exec taskset -c {cores[0]} "$0" "$@"; [ "$r" = 4 ] && exec taskset -c {cores[-1]} "$0" "$@"; '
        'exec "$0" "$@"'
    )
    directory = ranks.directory / "run"
    directory.mkdir()
    command = ["sh", "-c", wrapper, sys.executable, "-m", "mpidask", ranks.script(LOOK)]
    result = ranks(6, command=command, environ={run_directory.DIRECTORY: str(directory)})
    assert result.status == 0, result
    assert eval(result.stdout) == [
        (2, 0, cores, None, "2"),
        (3, 0, cores[:1], None, "3"),
        (4, 0, cores[-1:], None, "4"),
        (5, 3, cores, "5", "5"),
    ], result
    assert "forked from 2 agents" in result.stderr, result
    for rank in (2, 3, 4, 5):
        log = (directory / f"rank-{rank}.log").read_text()
        assert [line for line in log.splitlines() if line.startswith("worker")] == [f"worker {rank}"], log


def facts(node="a", sharing="same"):
    return Facts(node, node, node, (0,), 1, (), (), sharing=sharing)


def test_who_may_share_an_agent():
    plan = [WorkerSpec(rank, rank, 1, 0) for rank in (1, 2, 3, 4)]
    world = [facts(), facts(), facts(), facts("b"), facts("b")]
    assert sharing.agents(world, plan, first=0, last=None, apart=False) == [0, 1, 1, 3, 3]
    assert sharing.agents(world, plan, first=2, last=0, apart=False) == [0, 2, 2, 3, 3], (
        "the scheduler's agent goes first"
    )
    assert sharing.agents(world, plan, first=0, last=1, apart=False) == [0, 2, 2, 3, 3], "the script's goes last"
    assert sharing.agents(world, plan, first=0, last=None, apart=True) == [0, 1, 2, 3, 4]
    other = [facts(), facts(), facts(sharing="other"), facts("b", ""), facts("b", "")]
    assert sharing.agents(other, plan, first=0, last=None, apart=False) == [0, 1, 2, 3, 4]
    threads = [*plan[:3], WorkerSpec(4, 4, 1, 0, blas_threads=2)]
    assert sharing.agents(world, threads, first=0, last=None, apart=False) == [0, 1, 1, 3, 4], (
        "libraries read them when they are imported"
    )


def test_what_ranks_have_in_common(tmp_path):
    """Cgroups without limits of their own may differ, but where there are GPUs, and devices may be withheld."""

    def described(task, environ=None, **changes):
        root = tmp_path / str(task)
        (root / "proc/self").mkdir(parents=True, exist_ok=True)
        (root / "proc/self/cgroup").write_text(f"0::/job/task_{task}\n")
        return sharing.described(dataclasses.replace(facts(), **changes), environ or {}, root).sharing

    assert described(1) == described(2)
    assert described(1, {"SLURM_PROCID": "1", "SLURM_TASK_PID": "7"}) == described(2, {"SLURM_PROCID": "2"})
    assert described(1, {"UCX_NET_DEVICES": "mlx5_0"}) != described(2, {"UCX_NET_DEVICES": "mlx5_1"})
    assert described(1, {"NAME": "\udcff"}) != described(1), "bytes that are no UTF-8"
    shown = [dict.fromkeys(VISIBLE_DEVICES, value) for value in ("0", "1")]
    assert described(1, shown[0]) == described(1, shown[1])
    assert described(1, {"GPU_DEVICE_ORDINAL": "0"}) != described(1), "a variable cannot be taken away"
    gpus = {"gpu_variable": "CUDA_VISIBLE_DEVICES", "gpus": (Gpu("0", "0"),)}
    assert described(1, **gpus) == described(1, {"CUDA_VISIBLE_DEVICES": "1"}, **gpus)
    assert described(1, **gpus) != described(2, **gpus)
    for task in (1, 2):
        (tmp_path / str(task) / "dev").mkdir()
        (tmp_path / str(task) / "dev/nvidia0").touch()
    assert described(1, **gpus) == described(2, **gpus), "both may use the device"
    (tmp_path / "2/dev/nvidia1").touch()
    assert described(1, **gpus) != described(2, **gpus)
    assert described(1, **gpus) != described(1, gpu_visible="0", **gpus), "a variable cannot be taken away"
    limits = [Limit(f"cgroup:/job/task_{task}", 2**30, "cgroup") for task in (1, 2)]
    assert described(1, memory=(limits[0],)) != described(1, memory=(limits[1],))
    assert described(1, memory=(Limit("process:1", 1, ""),)) == described(1, memory=(Limit("process:2", 1, ""),))


@pytest.mark.parametrize("n", some([1, 2], [2]))
def test_the_run_ends_with_the_agent_that_hosts_the_scheduler(ranks, n):
    run = ranks.start(n, "--workers-per-rank", "2", ranks.script(SLEEPER))
    run.wait_for("ready")
    os.kill(_agent(run, 0), signal.SIGKILL)
    result = run.result()
    assert result.status != 0, result
    assert "the process with this rank's servers, on rank 0 on" in result.stderr, result
    assert "the run ends" in result.stderr, result
    assert "Traceback" not in result.stderr, result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


@pytest.mark.thorough
def test_workers_come_back_without_the_fork_server(ranks):
    """Multiprocessing starts another one, which is exec'ed."""
    run = ranks.start(1, "--workers-per-rank", "2", ranks.script(AFTER))
    run.wait_for("ready")
    agent = _agent(run, 0)
    (server,) = [pid for pid in marked(run.mark) if _parent(pid) == agent and "tracker" not in read(pid, "cmdline")]
    workers = [pid for pid in marked(run.mark) if _parent(pid) == server]
    for pid in (server, *workers):
        os.kill(pid, signal.SIGKILL)
    ranks.script("", "go.py")
    result = run.result()
    assert result.status == 0, result
    assert "3\n" in result.stdout, result
    assert "Traceback" not in result.stderr, result
    assert not result.leftover, result


def test_signals_to_a_ranks_group_do_not_reach_its_agent(ranks):
    run = ranks.start(4, ranks.script(AFTER))
    run.wait_for("ready")
    ours = {os.getpgid(run.rank(number)) for number in range(4)}
    assert os.getpgid(_agent(run, 2)) not in ours
    trackers = [pid for pid in marked(run.mark) if "resource_tracker" in read(pid, "cmdline")]
    assert trackers
    assert not ours & {os.getpgid(pid) for pid in trackers}  # an agent that lost its own would start another
    ranks.script("", "go.py")
    assert run.result().status == 0


# What each role imports.

DUMP = """
import atexit, os, sys

def dump():
    with open(os.path.join(os.environ["MODULES"], str(os.getpid()) + ".txt"), "w") as file:
        file.write("\\n".join(sys.modules))

def leave(status, leave=os._exit):
    dump()
    leave(status)

atexit.register(dump)
os._exit = leave
"""

#: Role -> packages and modules that it must not have imported.
_OUTSIDE = {"mpidask.batch", "mpidask.jobqueue", "mpidask.attach"}
_SERVERS = {"dask", "distributed", "tornado", "numpy", "yaml", "click", "jinja2", "cryptography"}
FORBIDDEN = {
    "script": {
        "bokeh",
        "pandas",
        "mpi4py",
        "mpidask.launch.servers.server_start",
        "mpidask.launch.comm.world",
        *_OUTSIDE,
    },
    "rank of the script": {"bokeh", "pandas", "mpidask.launch.servers.server_start", *_SERVERS, *_OUTSIDE},
    "rank 0": {
        "bokeh",
        "pandas",
        "distributed",
        "tornado",
        "numpy",
        *_OUTSIDE,
    },  # which reads options and configuration
    "host of workers": {"bokeh", "pandas", "mpidask.launch.servers.server_start", *_SERVERS, *_OUTSIDE},
    "agent": {"bokeh", "pandas", "mpi4py", "jupyter_server_proxy", *_OUTSIDE},
}


def test_no_role_imports_what_it_does_not_need(ranks, tmp_path):
    modules = tmp_path / "modules"
    modules.mkdir()
    (tmp_path / "sitecustomize.py").write_text(DUMP)
    (tmp_path / "jupyter_server_proxy.py").touch()  # Dask's scheduler imports it where it is installed
    environ = {"PYTHONPATH": str(tmp_path), "MODULES": str(modules)}
    script = ranks.script(
        "from distributed import Client\nimport os, sys\nclient = Client()\n"
        "assert client.submit(sum, [1, 2]).result() == 3\n"
        "found = client.run(lambda: list(sys.modules))\n"
        "print(len([each for each in found.values() if 'bokeh' in each or 'mpi4py' in each or 'pandas' in each]))\n"
        "print('ready', flush=True)\n"
    )
    run = ranks.start(3, "--workers-per-rank", "2", "--exclusive-workers", script, environ=environ)
    run.wait_for("ready")
    result = run.result()
    assert result.status == 0, result
    assert result.stdout.startswith("0\n"), "no worker has imported more than it needs"
    found = [set(file.read_text().split("\n")) for file in modules.iterdir()]
    roles = {
        "script": [each for each in found if "mpidask.launch.script.child" in each],
        "rank of the script": [each for each in found if "mpidask.launch.script_rank" in each],
        "agent": [each for each in found if "mpidask.launch.servers.server_start" in each],  # two, and what they fork
        "rank 0": [each for each in found if {"mpidask.launch.cluster.server_rank", "click"} <= each],
        "host of workers": [
            each for each in found if "mpidask.launch.cluster.server_rank" in each and "click" not in each
        ],
    }
    for role, processes in roles.items():
        assert len(processes) == 1 or (role == "agent" and len(processes) > 1), (role, len(processes))
        for names in processes:
            wrong = {name for name in names for bad in FORBIDDEN[role] if name == bad or name.startswith(bad + ".")}
            assert not wrong, f"{role} has imported {sorted(wrong)}"


def test_mpi_comes_up_before_anything_is_imported():
    import subprocess
    import sys

    code = "import sys; from mpidask.launch.watchdog.watchdog import Watchdog; from mpidask.launch.comm.rank import Rank; print(*sys.modules)"
    text = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=180).stdout
    heavy = {
        "dask",
        "distributed",
        "numpy",
        "click",
        "asyncio",
        "multiprocessing",
        "psutil",
        "yaml",
        "json",
        "ssl",
        "logging",
    }
    assert not heavy & set(text.split())


@pytest.mark.thorough
def test_missing_byte_code_is_told_once(ranks, tmp_path):
    script = ranks.script(CONNECT + "print(client.submit(sum, [1, 2]).result())\n")
    nowhere = {"PYTHONPYCACHEPREFIX": str(tmp_path / "nothing"), "PYTHONDONTWRITEBYTECODE": "1"}
    result = ranks(4, script, environ=nowhere, timeout=120)
    assert result.status == 0, result
    assert result.stdout == "3\n", result
    assert len(result.words) == 2, result
    assert "Dask has no byte code (.pyc) here" in result.words[0], result
    assert "-m compileall -q " in result.words[1], result
