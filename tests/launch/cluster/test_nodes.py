"""Runs over two nodes: namespaces with addresses of their own, an interface that leads nowhere, and a real mpirun."""

from __future__ import annotations

import os
import signal

import nodes
import pytest
from harness import MPI

pytestmark = pytest.mark.skipif(not nodes.possible(), reason="needs root and iproute2")

CLIENT = "from distributed import Client\nimport socket, time\n"


@pytest.fixture(scope="module")
def two_nodes(tmp_path_factory):
    with nodes.nodes(tmp_path_factory.mktemp("nodes")) as made:
        yield made


def test_the_network_that_connects_the_nodes_is_found(ranks, two_nodes):
    script = CLIENT + (
        "c = Client()\nprint(sorted(c.run(socket.gethostname).values()))\n"
        "a = c.submit(bytes, 1000, workers=2); b = c.submit(bytes, 1000, workers=3)\n"
        "print(c.submit(lambda x, y: len(x + y), a, b).result())\n"
        "print(sorted({w.rpartition(':')[0] for w in c.scheduler_info(n_workers=-1)['workers']}), c.scheduler.address)"
    )
    words = two_nodes.mpirun_words(mpich=MPI.is_mpich, each=2)
    result = ranks(4, ranks.script(script), hosts=words)
    first, second = two_nodes.addresses
    names, length, workers = result.stdout.splitlines()
    assert (result.status, names, length) == (0, "['n2', 'n2']", "2000"), result
    assert workers.startswith(f"['tls://{second}'] tls://{first}:"), result
    assert "network      eth0, tried by connecting from every node" in result.stderr, result
    assert not result.words, result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


def test_a_script_that_calls_us_may_have_the_scheduler_on_the_second_node(ranks, two_nodes):
    script = CLIENT + (
        "import mpidask\ndef main():\n    with Client() as c:\n"
        "        return sorted(c.run(socket.gethostname).values()), c.scheduler.address\n"
        "value = mpidask.execute(main, client_rank=0, scheduler_rank=3)\nif value: print(*value)"
    )
    words = two_nodes.mpirun_words(mpich=MPI.is_mpich, each=2)
    result = ranks.python(4, ranks.script(script), hosts=words)
    assert result.stdout.startswith(f"['n1', 'n2'] tls://{two_nodes.addresses[1]}:"), result
    assert (result.status, result.words) == (0, []), result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


def test_an_interface_that_leads_nowhere_is_refused(ranks, two_nodes):
    words = two_nodes.mpirun_words(mpich=MPI.is_mpich, each=2)
    result = ranks(4, "--interface", "ib0", ranks.script("print('never')"), hosts=words)
    assert (result.status, result.stdout) == (69, ""), result
    assert "no network address of the scheduler's node n1 is reached by all nodes" in result.stderr, result
    assert "not reached by: rank 2 on n2, rank 3 on n2" in result.stderr, result
    assert result.stderr.count("mpidask: error:") == 1, result
    assert not result.leftover, result


@pytest.mark.parametrize("role", [0, 1, 3])
def test_a_rank_killed_on_one_node_ends_the_run_on_both(ranks, two_nodes, role):
    words = two_nodes.mpirun_words(mpich=MPI.is_mpich, each=2)
    run = ranks.start(
        4, ranks.script(CLIENT + "c = Client(); print('ready', flush=True); time.sleep(600)"), hosts=words
    )
    run.wait_for("ready")
    os.kill(run.rank(role), signal.SIGKILL)
    result = run.result(30)
    assert result.status != 0, result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


def test_mpirun_killed_ends_the_run_on_both(ranks, two_nodes):
    words = two_nodes.mpirun_words(mpich=MPI.is_mpich, each=2)
    run = ranks.start(
        4, ranks.script(CLIENT + "c = Client(); print('ready', flush=True); time.sleep(600)"), hosts=words
    )
    run.wait_for("ready")
    run.signal(signal.SIGKILL)
    result = run.result(30)
    assert not result.leftover, result
    # Open MPI's mpirun has a directory where it ran itself, and no rank of ours was there.
    assert not [name for name in ranks.leftovers() if "/ompi." not in name], result
