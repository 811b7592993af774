"""What keeps a run from starting is said once, with rank, node and remedy, and ends every rank."""

from __future__ import annotations

import os
import sys

import pytest
from harness import MPI
from selection import some

#: arguments, exit status, what stderr must hold
MISTAKES = {
    "no_script": ([], 2, "no script was given"),
    "unknown_option": (["--nthread", "2", "x.py"], 2, "no option --nthread"),
    "after_the_script": (["script.py", "--nthreads", "2"], 2, "nanny --nthreads 2 script.py"),
    "bad_number": (["--nthreads", "two", "x.py"], 2, "is not a valid integer"),
    "zero_threads": (["--nthreads", "0", "x.py"], 2, "--nthreads is 0"),
    "several_workers_inside_a_rank": (
        ["--no-nanny", "--workers-per-rank", "4", "x.py"],
        2,
        "--workers-per-rank 4 needs nannies",
    ),
    "bad_memory": (["--memory-limit", "lots", "x.py"], 2, "--memory-limit is 'lots'"),
    "bad_time": (["--startup-timeout", "soon", "x.py"], 2, "--startup-timeout is 'soon'"),
    "missing_script": (["no-such-script.py"], 2, "can't open 'no-such-script.py': No such file"),
    "missing_module": (["-m", "no_such_module"], 2, "no module named 'no_such_module'"),
    "wrong_interface": (["--interface", "ib7", "script.py"], 69, "no network interface 'ib7'"),
    "wrong_worker_class": (["--worker-class", "distributed.Wrker", "script.py"], 69, "no worker class"),
    "not_a_worker_class": (["--worker-class", "distributed.Client", "script.py"], 69, "is not a worker class"),
    "worker_class_without_module": (["--worker-class", "Worker", "script.py"], 69, "no worker class"),
    "unwritable_scratch": (["--local-directory", "/proc/nowhere", "script.py"], 69, "/proc/nowhere cannot be made"),
    "bad_protocol": (["--no-tls", "--protocol", "carrier-pigeon", "script.py"], 69, "carrier-pigeon"),
    "open_protocol": (["--protocol", "ucx", "script.py"], 2, "--protocol ucx cannot be encrypted"),
    "bad_dashboard_address": (["--dashboard-address", "nowhere.invalid:1", "script.py"], 69, "rank 0"),
}


#: Whether there are nannies makes a difference where workers are started.
MISTAKEN = [(name, nanny) for name in MISTAKES for nanny in ("--nanny", "--no-nanny")]
FEWER = [
    "no_script",
    "after_the_script",
    "missing_script",
    "wrong_interface",
    "wrong_worker_class",
    "unwritable_scratch",
]
CHOSEN = [(name, "--nanny") for name in FEWER] + [("wrong_worker_class", "--no-nanny")]


@pytest.mark.parametrize(("name", "nanny"), some(MISTAKEN, CHOSEN))
def test_a_mistake_ends_all_ranks_with_one_message(ranks, name, nanny):
    ranks.script("print('never')")
    arguments, status, text = MISTAKES[name]
    result = ranks(4, nanny, *arguments, timeout=40)
    assert result.status == status, result
    assert text in result.stderr, result
    assert result.stderr.count("mpidask: error:") == 1, result
    assert "Traceback" not in result.stderr, result
    assert "never" not in result.stdout, result
    assert "MPI_A" not in result.stderr, result  # in order, not by MPI_Abort
    if status == 69:
        assert "rank " in result.stderr and f" on {os.uname().nodename}" in result.stderr, result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


@pytest.mark.parametrize("n", some([0, 1, 2], [0, 2]))
def test_a_mistake_in_a_small_world(ranks, n):
    ranks.script("print('never')")
    result = ranks(n, "--worker-class", "distributed.Wrker", "script.py", timeout=40)
    assert result.status == 69, result
    assert result.stderr.count("mpidask: error:") == 1, result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


def test_configuration_that_cannot_be_used(ranks):
    result = ranks(3, ranks.script(""), environ={"DASK_MPIDASK__NTREADS": "2"})
    assert result.status == 2, result
    assert "unknown option: DASK_MPIDASK__NTREADS" in result.stderr, result
    assert "did you mean nthreads?" in result.stderr, result


def test_an_import_error_on_one_rank_names_it(ranks):
    """A broken package in the way of one rank's imports."""
    broken = ranks.directory / "broken"
    broken.mkdir()
    (broken / "distributed.py").write_text("raise ImportError('libfabric.so.1: cannot open shared object file')")
    wrapper = (
        'r="${PMI_RANK:-$OMPI_COMM_WORLD_RANK}"; [ "$r" = 3 ] && export PYTHONPATH="'
        + str(broken)
        + '"; exec "$0" "$@"'
    )
    result = ranks(4, command=["sh", "-c", wrapper, sys.executable, "-m", "mpidask", ranks.script("")], timeout=40)
    assert result.status == 69, result
    assert f"rank 3 on {os.uname().nodename}: ImportError: libfabric.so.1" in result.stderr, result
    assert "same Python environment" in result.stderr, result
    assert result.stderr.count("mpidask: error:") == 1, result
    assert "Traceback" not in result.stderr, result
    assert not result.leftover, result


def test_workers_that_do_not_come_up_are_named(ranks):
    (ranks.work / "slow.py").write_text(
        "import time, distributed\n"
        "class Slow(distributed.Worker):\n"
        "    def __init__(self, *a, name=None, **k):\n"
        "        if name == 3: time.sleep(600)\n"
        "        super().__init__(*a, name=name, **k)\n"
    )
    environ = {"PYTHONPATH": str(ranks.work)}
    words = ["--startup-timeout", "30 s", "--worker-class", "slow.Slow"]
    result = ranks(4, *words, ranks.script("print(3)"), environ=environ, timeout=60)
    assert result.status == 69, result
    assert "rank 3" in result.stderr, result
    assert "30 s" in result.stderr, result
    assert "--startup-timeout" in result.stderr, result
    assert result.stderr.count("mpidask: error:") == 1, result
    assert not result.leftover, result
    words[1] = "100 s"  # it goes on as soon as one is up
    result = ranks(4, "--min-workers", "1", *words, ranks.script("print(3)"), environ=environ, timeout=60)
    assert (result.status, result.stdout) == (0, "3\n"), result
    assert not result.leftover, result


def test_a_launcher_of_another_mpi_is_refused(ranks):
    """N processes that each believe to be alone: the launcher's variables say otherwise."""
    variables = {"PMI_RANK": "0", "PMI_SIZE": "4", "MPI_LOCALNRANKS": "4"} if not MPI.is_mpich else {}
    if MPI.is_mpich:
        variables = {
            f"OMPI_COMM_WORLD_{name}": text for name, text in (("RANK", "0"), ("SIZE", "4"), ("LOCAL_SIZE", "4"))
        }
    result = ranks(0, ranks.script(""), environ=variables, timeout=30)
    assert result.status == 69, result
    assert "started 4 processes, but to the MPI library of mpi4py each of them is alone" in result.stderr, result
    assert "launcher: " in result.stderr, result
    assert "library:  " in result.stderr, result
    assert "remedy: use the mpirun of the library" in result.stderr, result
    assert not result.leftover, result


def test_a_rank_that_is_late_for_mpi_is_named(ranks):
    """The others are inside MPI_Init by then, and only their watchdogs can speak."""
    wrapper = (
        'r="${PMI_RANK:-$OMPI_COMM_WORLD_RANK}"; while [ "$r" = 2 ] && [ ! -e come.py ]; do sleep 0.1; done; '
        'exec "$0" "$@"'
    )
    command = ["sh", "-c", wrapper, sys.executable, "-m", "mpidask", ranks.script("print(3)")]
    run = ranks.start(3, command=command)
    run.wait_for(f"mpidask: waiting for rank 2 on {os.uname().nodename} to bring MPI up\n", file="err")
    ranks.script("", "come.py")
    result = run.result()
    assert (result.status, result.stdout) == (0, "3\n"), result
    assert not result.leftover, result


def test_progress_is_shown_while_workers_start(ranks):
    (ranks.work / "slow.py").write_text(
        "import asyncio, os, distributed\n"
        "class Slow(distributed.Worker):\n"
        "    async def start_unsafe(self):\n"
        f"        while self.name == 3 and not os.path.exists({str(ranks.work / 'go.py')!r}):\n"
        "            await asyncio.sleep(0.05)\n"
        "        return await super().start_unsafe()\n"
    )
    words = ["--worker-class", "slow.Slow", ranks.script("print(3)")]
    run = ranks.start(4, *words, environ={"PYTHONPATH": str(ranks.work)})
    run.wait_for(f"mpidask: 1/2 workers, missing: rank 3 on {os.uname().nodename}\n", file="err")
    ranks.script("", "go.py")
    result = run.result()
    assert (result.status, result.stdout) == (0, "3\n"), result
