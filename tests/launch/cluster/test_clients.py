"""Clients from outside: an address of their own, several at a time, and the end of a cluster that nobody uses."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request

import nodes
import pytest
from harness import MPI, PATIENCE
from selection import some

from mpidask.security import credentials

MPIDASK = [sys.executable, "-m", "mpidask.cli"]

CONNECT = (
    "import os, sys, time\nfrom mpidask.security import scheduler_file\nfrom distributed import Client\n"
    "while not os.path.exists(sys.argv[1]): time.sleep(0.02)\n"
    "entry = scheduler_file.read(sys.argv[1])\n"
    "client = Client(entry.address, security=entry.keys.security(), timeout=60)\nclient.wait_for_workers(2, timeout=90)\n"
)


@pytest.fixture(scope="module")
def two_nodes(tmp_path_factory):
    if not nodes.possible():
        pytest.skip("needs root and iproute2")
    with nodes.nodes(tmp_path_factory.mktemp("nodes")) as made:
        yield made


def content_of(file, run):
    deadline = time.monotonic() + 40 * PATIENCE
    while not file.exists():
        assert run.process.poll() is None, run._read("err")
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return json.loads(file.read_text())


def python(code, file, node=None):
    """Run code as a client of its own, on one of the nodes if that is given; return what it prints."""
    where = ["nsenter", f"--net=/run/netns/{node}"] if node else []
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    words = [*where, sys.executable, "-W", "ignore", "-c", CONNECT + code, str(file)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=90 * PATIENCE, env=environ, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.thorough
def test_an_address_for_workers_and_one_for_clients(ranks, two_nodes):
    """Clients come over a network of their own; what one of them publishes another one gets, on another node."""
    file = ranks.directory / "cluster.json"
    words = two_nodes.mpirun_words(mpich=MPI.is_mpich, each=2)
    serve = [*MPIDASK, "serve", "--scheduler-file", str(file), "--client-interface", "out0"]
    run = ranks.start(4, command=serve, hosts=words)
    content = content_of(file, run)
    inner, outer = f"tls://{two_nodes.addresses[0]}:", f"tls://{two_nodes.outside}:"
    assert content["address"].startswith(outer), content
    assert content["mpidask"]["inner"].startswith(inner), content
    code = "print(client.scheduler.address)\nprint(*client.scheduler_info(n_workers=-1)['workers'])\n"
    code += "client.publish_dataset(answer=client.submit(sum, [20, 22], key='answer'))"
    mine, workers = python(code, file).splitlines()
    assert mine == content["address"]
    assert all(worker.startswith(f"tls://{two_nodes.net}.") for worker in workers.split()), workers
    name = two_nodes.prefix
    get = "print(client.get_dataset('answer').result(), *client.list_datasets())\n"
    first = python(get + "client.publish_dataset(more=[client.submit(len, 'abc', key='more')])", file, f"{name}1")
    # The second node is not on the clients' network: it uses the workers' address, as workers do.
    there = get.replace("client.", "other.") + "print(other.gather(other.get_dataset('more')))"
    there = "other = Client(entry.inner, security=entry.keys.security(), timeout=60)\n" + there
    second = python("pass", file) + _on_second_node(there, file, f"{name}2")
    assert (first, second) == ("42 answer\n", "42 answer more\n[3]\n")
    python("client.shutdown()", file)
    result = run.result(30)
    assert (result.status, result.stdout, result.words) == (0, "", []), result
    assert f"clients      {content['address']} (from outside)" in result.stderr, result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


def _on_second_node(code, file, node):
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    before, _, _ = CONNECT.partition("client = ")
    words = [
        "nsenter",
        f"--net=/run/netns/{node}",
        sys.executable,
        "-W",
        "ignore",
        "-c",
        before + code,
        str(file),
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=90 * PATIENCE, env=environ, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_address_by_host_and_port(ranks):
    file = ranks.directory / "cluster.json"
    serve = [*MPIDASK, "serve", "--scheduler-file", str(file), "--client-address", "127.0.0.2", "--interface", "lo"]
    run = ranks.start(3, command=serve)
    assert content_of(file, run)["address"].startswith("tls://127.0.0.2:")
    assert python("print(client.submit(sum, [1, 2]).result())\nclient.shutdown()", file) == "3\n"
    assert run.result(30).status == 0


@pytest.mark.one_mpi
@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--client-interface", "ib7"], "--client-interface needs --scheduler-file"),
        (["--client-interface", "ib7", "--scheduler-file", "f"], "no network interface 'ib7' with an IPv4 address"),
        (["--client-interface", "lo", "--client-address", "127.0.0.1"], "say the same"),
        (["--client-address", "127.0.0.1:x", "--scheduler-file", "f"], "--client-address is '127.0.0.1:x'"),
        (["--protocol", "tls", "--no-tls"], "needs keys"),
        (["--protocol", "ucx"], "cannot be encrypted"),
        (["--idle-timeout", "soon"], "--idle-timeout is 'soon'"),
        (["--data", "no.such.store", "--scheduler-file", "f"], "--data is 'no.such.store'"),
        (["--data", "os.sep", "--scheduler-file", "f"], "--data is 'os.sep'"),
    ],
)
def test_what_cannot_be_had(ranks, words, text):
    result = ranks(3, command=[*MPIDASK, "serve", *words])
    assert result.status in (2, 69), result
    assert text in result.stderr, result
    assert "remedy: " in result.stderr, result
    assert "Traceback" not in result.stderr, result
    assert not result.leftover, result


def test_a_cluster_that_nobody_uses_ends(ranks):
    """But not while it computes."""
    file = ranks.directory / "cluster.json"
    run = ranks.start(3, command=[*MPIDASK, "serve", "--scheduler-file", str(file), "--idle-timeout", "8 s"])
    # On a busy machine a client takes longer to start than the cluster waits for one: it starts beside it.
    assert python("print(client.submit(lambda: time.sleep(10) or 7).result())", file) == "7\n"
    result = run.result(60)
    said = "mpidask: the cluster has had nothing to do for 8 s (--idle-timeout): it ends"
    assert (result.status, result.stdout, result.words) == (0, "", [said]), result
    assert "idle         the cluster ends when it has had nothing to do for 8 s" in result.stderr, result
    assert not file.exists()
    assert not result.leftover, result


STORE = '''
import os, zict
from distributed.protocol import deserialize_bytes, serialize_bytes

def on_disk(worker_local_directory):
    """Data of workers in files."""
    return zict.Func(serialize_bytes, deserialize_bytes, zict.File(os.path.join(worker_local_directory, "data")))

class Counting(dict):
    pass
'''


@pytest.mark.parametrize("nanny", some(["--nanny", "--no-nanny"], ["--nanny"]))
def test_where_workers_keep_their_data(ranks, nanny):
    ranks.script(STORE, "stores.py")
    code = """
from distributed import Client
import os
with Client() as client:
    def kind(dask_worker):
        return type(dask_worker.data).__name__, os.listdir(os.path.join(dask_worker.local_directory, "data"))
    x = client.submit(bytes, 10_000, key="x", workers=2)
    y = client.submit(lambda a: a + b"!", x, key="y", workers=3)
    assert len(y.result()) == 10_001
    kinds, files = zip(*client.run(kind).values())  # of what two workers have, Dask drops one after a while
    print(set(kinds), sorted({file for each in files for file in each}))
"""
    result = ranks(4, "--data", "stores.on_disk", nanny, ranks.script(code))
    assert (result.status, result.words) == (0, []), result
    assert result.stdout == "{'Func'} ['x#0', 'y#1']\n", result
    assert not result.leftover, result


@pytest.mark.thorough
@pytest.mark.one_mpi
def test_data_by_a_class(ranks):
    ranks.script(STORE, "stores.py")
    code = "from distributed import Client\nprint(set(Client().run(lambda dask_worker: type(dask_worker.data).__name__).values()))"
    result = ranks(3, "--data", "stores.Counting", ranks.script(code))
    assert (result.status, result.stdout) == (0, "{'Counting'}\n"), result


ASK = "from distributed import Client\nc = Client()\nprint(c.scheduler.address[:6], c.submit(sum, [1, 2]).result())"


@pytest.mark.parametrize("off", some(["--no-tls", "the environment", "the configuration"], ["--no-tls"]))
def test_without_tls(ranks, off):
    """It is switched off on the command line or in the configuration, and said."""
    environ, words = {}, []
    if off == "--no-tls":
        words = [off]
    elif off == "the environment":
        environ = {"DASK_MPIDASK__TLS": "false"}
    else:
        (ranks.directory / "dask.yaml").write_text("mpidask: {tls: false}\n")
        environ = {"DASK_CONFIG": str(ranks.directory / "dask.yaml")}
    result = ranks(3, *words, ranks.script(ASK), environ=environ)
    assert (result.status, result.stdout, result.words) == (0, "tcp:// 3\n", []), result
    assert re.search(r"scheduler +tcp://\S+ \(not encrypted, --no-tls: whoever reaches a port", result.stderr), result


def test_without_tls_clients_of_dask_itself_may_come(ranks):
    from distributed import Client

    file = ranks.directory / "cluster.json"
    run = ranks.start(2, command=[*MPIDASK, "serve", "--scheduler-file", str(file), "--no-tls"])
    assert content_of(file, run)["mpidask"]["keys"] is None
    with Client(scheduler_file=str(file), timeout=20 * PATIENCE) as client:
        assert client.submit(sum, [1, 2]).result() == 3
        port = client.scheduler_info()["services"]["dashboard"]
        assert urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=20 * PATIENCE).status == 200
        client.shutdown()
    assert run.result(30).status == 0


@pytest.mark.parametrize("n", some([2, 3], [3]))
def test_keys_of_the_users_own(ranks, n):
    """Where Dask's configuration names some, none are made, and whoever has them is let in."""
    keys = credentials.make()
    files = {name: ranks.directory / f"{name}.pem" for name in ("cert", "key")}
    files["cert"].write_text(keys.certificate)
    files["key"].write_text(keys.key)
    prefix = "DASK_DISTRIBUTED__COMM__TLS__"
    environ = {f"{prefix}CA_FILE": str(files["cert"])}
    for role in ("SCHEDULER", "WORKER", "CLIENT"):
        environ |= {f"{prefix}{role}__{name.upper()}": str(path) for name, path in files.items()}
    result = ranks(n, ranks.script(ASK), environ=environ)
    assert (result.status, result.stdout, result.words) == (0, "tls:// 3\n", []), result
    said = r"scheduler +tls://\S+ \(encrypted, with the keys of distributed.comm.tls in your configuration\)\n"
    assert re.search(said, result.stderr), result


@pytest.mark.one_mpi
def test_the_dashboards_link_is_the_whole_one(ranks):
    """Of clients in the script; behind a web proxy that is configured it is the proxy's."""
    script = ranks.script("from distributed import Client\nprint(Client().dashboard_link)")
    result = ranks(3, script)
    (link,) = re.findall(r"dashboard +(http://127\.0\.0\.1:\d+/[\w-]{22}/status)\n", result.stderr)
    assert result.stdout == f"{link}\n", result
    template = "https://hub.site.org/user/{JUPYTERHUB_USER}/proxy/{host}:{port}/status"
    result = ranks(3, script, environ={"DASK_DISTRIBUTED__DASHBOARD__LINK": template, "JUPYTERHUB_USER": "ann"})
    (place,) = re.findall(r"dashboard +http://127\.0\.0\.1:(\d+/[\w-]{22}/status)\n", result.stderr)
    assert result.stdout == f"https://hub.site.org/user/ann/proxy/{os.uname().nodename}:{place}\n", result
    assert f"by the proxy: {result.stdout}" in result.stderr, result
