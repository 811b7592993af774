"""`mpidask serve`: scheduler and workers for clients that come from elsewhere, and workers for a scheduler elsewhere."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import stat
import sys
import time

import pytest
from free_ports import own_port
from harness import PATIENCE, marked, read
from selection import some

MPIDASK = [sys.executable, "-c", "import sys; sys.argv[0] = 'mpidask'; from mpidask.cli import main; main()"]


@pytest.fixture
def file(ranks):
    return ranks.directory / "cluster.json"


def serve(ranks, n, *words):
    return ranks.start(n, command=[*MPIDASK, *map(str, words)])


def wait_for_file(run, file, timeout=30):
    deadline = time.monotonic() + timeout * PATIENCE
    while not file.exists():
        assert run.process.poll() is None, run._read("err")
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return json.loads(file.read_text())


@contextlib.contextmanager
def client(file, workers):
    from distributed import Client

    from mpidask.security import scheduler_file

    entry = scheduler_file.read(str(file))
    with Client(entry.address, security=entry.keys.security(), timeout=20 * PATIENCE) as connection:
        connection.wait_for_workers(workers, timeout=30 * PATIENCE)
        yield connection


def write(file, content):
    """Write a scheduler file, which holds keys."""
    file.touch(mode=0o600)
    file.write_text(json.dumps(content))


def names(connection):
    """Return what the workers say themselves: where the scheduler is slow, its information may be an older one."""
    return sorted(connection.run(lambda dask_worker: dask_worker.name).values())


def test_clients_from_elsewhere_and_more_workers(ranks, file):
    run = serve(ranks, 3, "serve", "--scheduler-file", file)
    content = wait_for_file(run, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    about = {"run", "job", "started", "host", "inner", "clients", "keys", "dashboard", "idle_timeout"}
    assert set(content["mpidask"]) == about
    assert len(content["mpidask"]["run"]) == 32
    with client(file, 2) as first, client(file, 2) as second:
        assert names(first) == ["mpidask-1", "mpidask-2"]
        more = serve(ranks, 2, "serve", "--scheduler-file", file, "--no-scheduler")
        first.wait_for_workers(4, timeout=30 * PATIENCE)
        more.wait_for(", joined", file="err")  # its banner: from here on it can be shut down
        assert len(names(second)) == 4
        assert second.submit(sum, [1, 2]).result() == 3
        first.shutdown()
    for result in (run.result(20), more.result(20)):
        assert (result.status, result.stdout, result.words) == (0, "", []), result
        assert not result.leftover, result
    assert not file.exists()
    assert not ranks.leftovers()


SIGNALS = [(nanny, name) for nanny in ("--nanny", "--no-nanny") for name in ("SIGINT", "SIGTERM", "SIGKILL")]


@pytest.mark.parametrize(("nanny", "name"), some(SIGNALS, [*SIGNALS[:3], ("--no-nanny", "SIGTERM")]))
def test_a_signal_to_mpirun_ends_the_cluster(ranks, file, name, nanny):
    run = serve(ranks, 3, "serve", "--scheduler-file", file, nanny)
    wait_for_file(run, file)
    with client(file, 2):
        pass
    run.signal(getattr(signal, name))
    result = run.result(20)
    assert "Traceback" not in result.stderr, result
    assert not [line for line in result.words if line.startswith("mpidask: ")], result
    assert not result.leftover, result
    assert not file.exists()
    assert not ranks.leftovers()


def test_a_lost_worker_rank_ends_the_cluster(ranks, file):
    run = serve(ranks, 3, "serve", "--scheduler-file", file)
    wait_for_file(run, file)
    with client(file, 2):
        os.kill(run.rank(1), signal.SIGKILL)
        result = run.result(20)
    assert result.status != 0, result
    assert not result.leftover, result
    assert not file.exists()


def agent(run):
    """Return the agent of a run's rank 0."""
    mine = [pid for pid in marked(run.mark) if "agent_main" in read(pid, "cmdline")]
    return next(pid for pid in mine if int(read(pid, "stat").rsplit(")", 1)[1].split()[1]) == run.rank(0))


def test_a_lost_agent_of_a_rank_that_has_joined_is_replaced(ranks, file):
    run = serve(ranks, 2, "serve", "--scheduler-file", file)
    wait_for_file(run, file)
    more = serve(ranks, 1, "serve", "--scheduler-file", file, "--no-scheduler")
    with client(file, 2) as connection:
        more.wait_for(", joined", file="err")  # whoever is lost before it is watched over is noticed as well

        def places():
            return {info["name"]: place for place, info in connection.scheduler_info(-1)["workers"].items()}

        before = places()
        os.kill(agent(more), signal.SIGKILL)
        more.wait_for("it is started again", file="err")
        deadline = time.monotonic() + 30 * PATIENCE
        while (now := places()).keys() != before.keys() or now == before:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert connection.submit(sum, [1, 2], workers=[*(set(now.values()) - set(before.values()))]).result(20) == 3
        connection.shutdown()
    assert (more.result(20).status, run.result(20).status) == (0, 0)
    assert not ranks.leftovers()


def test_a_lost_scheduler_is_no_good_end(ranks, file):
    run = serve(ranks, 3, "serve", "--scheduler-file", file)
    wait_for_file(run, file)
    with client(file, 2):
        os.kill(agent(run), signal.SIGKILL)
        result = run.result(20)
    assert result.status == 70, result
    assert "error: the process with this rank's servers, on rank 0 on" in result.stderr, result
    assert not result.leftover, result


@pytest.mark.thorough
def test_a_stale_file_is_refused(ranks, file):
    run = serve(ranks, 2, "serve", "--scheduler-file", file)
    content = wait_for_file(run, file)
    with client(file, 1) as connection:
        other = ranks.directory / "other.json"
        write(other, {**content, "id": "Scheduler-of-another-run"})
        result = serve(ranks, 2, "serve", "--scheduler-file", other, "--no-scheduler").result(30)
        assert result.status == 69, result
        assert (
            f"the scheduler file {other} is stale: another scheduler answers at {content['address']}" in result.stderr
        )
        connection.shutdown()
    run.result(20)
    old = ranks.directory / "old.json"
    write(old, content)
    result = serve(ranks, 2, "serve", "--scheduler-file", old, "--no-scheduler").result(30)
    assert (result.status, result.stdout) == (69, ""), result
    assert result.stderr.count("mpidask: error: ") == 1, result
    assert f"the scheduler file {old} is stale: nothing answers at {content['address']}" in result.stderr, result
    assert f"run {content['mpidask']['run']}" in result.stderr, result
    assert "Traceback" not in result.stderr, result
    # The run with the scheduler is the one that may overwrite it.
    run = serve(ranks, 2, "serve", "--scheduler-file", old)
    deadline = time.monotonic() + 20 * PATIENCE
    while json.loads(old.read_text()) == content:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with client(old, 1) as connection:
        connection.shutdown()
    assert run.result(20).status == 0
    assert not ranks.leftovers()


def test_a_file_of_another_run_is_not_removed(ranks, file):
    run = serve(ranks, 2, "serve", "--scheduler-file", file)
    content = wait_for_file(run, file)
    file.write_text(json.dumps({**content, "mpidask": {**content["mpidask"], "run": "another"}}))
    with client(file, 1) as connection:
        connection.shutdown()
    assert run.result(20).status == 0
    assert json.loads(file.read_text())["mpidask"]["run"] == "another"


def test_workers_wait_for_a_file_that_is_not_there_yet(ranks, file):
    more = serve(ranks, 1, "serve", "--scheduler-file", file, "--no-scheduler")
    more.wait_for(f"mpidask: waiting for the scheduler file {file}", file="err")
    run = serve(ranks, 2, "serve", "--scheduler-file", file, "--name", "first")
    wait_for_file(run, file)
    with client(file, 2) as connection:
        assert "first-1" in names(connection)
        more.wait_for(", joined", file="err")
        connection.shutdown()
    result = more.result(20)
    assert result.status == 0, result
    assert f"mpidask: waiting for the scheduler file {file}" in result.stderr, result
    assert run.result(20).status == 0


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["serve", "--no-scheduler"], 2, "without a scheduler of its own a run needs one to join"),
        (["serve", "--no-scheduler", "--scheduler-file", "FILE", "--startup-timeout", "1"], 69, "did not appear within 1 s"),
        (["serve", "--no-scheduler", "--scheduler-file", "script.py"], 69, "is not a scheduler file"),
        (["serve", "--no-scheduler", "--no-tls", "127.0.0.1:9"], 69, "the scheduler at tcp://127.0.0.1:9 does not answer"),
        (["serve", "--no-scheduler", "127.0.0.1:9"], 69, "the scheduler at tls://127.0.0.1:9 lets in only those who have its keys"),
        (["serve", "--scheduler-file", "/proc/nowhere/f.json"], 69, "the scheduler file /proc/nowhere/f.json cannot be written"),
        (["serve", "--scheduler-rank", "2"], 1, "the scheduler is to be on rank 2, but there are 2 ranks"),
        (["serve", "--scheduler-prot", "1"], 2, "--scheduler-port"),
        (["serve", "script.py", "more"], 2, "got unexpected extra argument"),
        (["--worker-options", "{"], 2, "'{' is no mapping in JSON"),
    ],
)  # fmt: skip
def test_what_cannot_be_served(ranks, file, words, status, text):
    ranks.script("print(3)")
    result = serve(ranks, 2, *(str(file) if word == "FILE" else word for word in words)).result(30)
    assert (result.status, result.stdout) == (status, ""), result
    assert text in result.stderr, result
    assert result.stderr.count("mpidask: error: ") == 1, result
    assert "Traceback" not in result.stderr, result
    assert not result.leftover, result


def test_one_rank_is_too_few_unless_it_does_everything(ranks, file):
    result = serve(ranks, 1, "serve", "--scheduler-file", file).result(20)
    assert result.status == 1, result
    assert "there is 1 rank, for the scheduler, and none for workers" in result.stderr, result
    run = serve(ranks, 1, "--scheduler-file", file, "--inclusive-workers")
    wait_for_file(run, file)
    with client(file, 1) as connection:
        assert names(connection) == ["mpidask-0"]
        connection.shutdown()
    assert run.result(20).status == 0


def test_a_port_of_the_users_choice(ranks, file):
    port = own_port()
    with socket.create_server(("", port)):
        result = serve(ranks, 2, "serve", "--scheduler-file", file, "--scheduler-port", port).result(30)
        assert result.status == 69, result
        assert f"port {port} on " in result.stderr, result
        assert "is taken" in result.stderr, result
        assert "Traceback" not in result.stderr, result
    run = serve(ranks, 2, "serve", "--scheduler-file", file, "--scheduler-port", port)
    assert wait_for_file(run, file)["address"].endswith(f":{port}")
    with client(file, 1) as connection:
        connection.shutdown()
    assert run.result(20).status == 0


@pytest.mark.thorough
def test_a_run_with_a_script_may_write_the_file_or_join(ranks, file):
    script = ranks.script(
        "from distributed import Client\nimport os, time\nc = Client()\nprint('ready', flush=True)\n"
        "c.wait_for_workers(2)\nprint(c.submit(sum, [1, 2]).result())\n"
        "while not os.path.exists('go.py'):\n    time.sleep(0.05)"
    )
    run = ranks.start(3, "--scheduler-file", str(file), script)
    wait_for_file(run, file)
    joined = ranks(
        2,
        "--no-scheduler",
        "--scheduler-file",
        str(file),
        "-c",
        "from distributed import Client\nprint(len(Client().scheduler_info(n_workers=-1)['workers']))",
    )
    ranks.script("", "go.py")
    assert (joined.status, joined.stdout, joined.words) == (0, "2\n", []), joined
    result = run.result(30)
    assert (result.status, result.stdout, result.words) == (0, "ready\n3\n", []), result
    assert not file.exists()
    assert not ranks.leftovers()


@pytest.mark.thorough
def test_execute_with_a_scheduler_elsewhere(ranks, file):
    run = serve(ranks, 2, "serve", "--scheduler-file", file)
    address = wait_for_file(run, file)["address"]
    script = ranks.script(
        f"""
        import mpidask
        from distributed import Client
        def main():
            with Client() as client:
                client.wait_for_workers(2)
                return sorted(str(w["name"]) for w in client.scheduler_info(n_workers=-1)["workers"].values())
        names = mpidask.execute(
            main, scheduler=False, scheduler_address={address!r}, scheduler_file={str(file)!r}, worker_name="more"
        )
        if names:
            print(names, flush=True)
        mpidask.execute(None, scheduler=False, scheduler_file={str(file)!r})
        """
    )
    second = ranks.start(2, command=[sys.executable, script])
    second.wait_for("more")
    with client(file, 3) as connection:
        second.wait_for("roles        workers on rank 0-1", file="err")  # the banner of its second cluster
        connection.shutdown()
    result = second.result(20)
    assert (result.status, result.stdout, result.words) == (0, "['more-0', 'mpidask-1']\n", []), result
    assert run.result(20).status == 0
    assert not ranks.leftovers()
