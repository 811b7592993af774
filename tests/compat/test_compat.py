"""Each private name of another library that mpidask uses is there, does what it is used for, and may be missing.

These tests run in each cell of the matrix, too: names differ between versions.
"""

from __future__ import annotations

import ast
import asyncio
import logging
import multiprocessing
import subprocess
import sys
import textwrap
import types
from multiprocessing import resource_tracker
from pathlib import Path

import dask.config
import distributed.client
import distributed.utils
import pytest
from distributed import Client, LocalCluster
from distributed.cli import dask_worker
from distributed.scheduler import TaskPrefix
from distributed.security import Security

from mpidask.compat import dask as compat
from mpidask.compat import python, servers
from mpidask.compat.missing import tolerated
from mpidask.launch.servers.agent_main import READ_EARLY

pytestmark = pytest.mark.one_mpi


def run(code, *options):
    """Return what a Python process of its own prints."""
    done = subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout.split()


def test_a_missing_name_is_a_debug_line(caplog):
    caplog.set_level(logging.DEBUG, "mpidask.compat")
    with tolerated("this"):
        object().missing  # noqa: B018
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["this"]


# ------------------------------------------------------------------------------ Python's
def test_exit_handlers_run_once():
    said = run(
        """
        import atexit
        from mpidask.compat import python, servers
        atexit.register(print, "handler")
        python.run_exit_handlers()
        print("after")
        """
    )
    assert said == ["handler", "after"]


def test_the_end_of_the_main_thread_comes_before_threads_and_exit_handlers():
    said = run(
        """
        import atexit, threading
        from mpidask.compat import python, servers
        release = threading.Event()
        def end():
            print("end")
            release.set()
            original()
        original = python.at_the_end_of_the_main_thread(end)
        atexit.register(print, "handler")
        threading.Thread(target=lambda: (release.wait(20), print("thread"))).start()
        """
    )
    assert said == ["end", "thread", "handler"]


def test_pools_end_when_they_are_told():
    said = run(
        """
        import concurrent.futures, threading, time
        from mpidask.compat import python, servers
        if __name__ == "__main__":
            threads = concurrent.futures.ThreadPoolExecutor(1)
            processes = concurrent.futures.ProcessPoolExecutor(1)
            print(threads.submit(int, "1").result(), processes.submit(int, "2").result())
            last = threads.submit(time.sleep, 0.1)
            others = [each for each in threading.enumerate() if each is not threading.current_thread()]
            python.shut_pools()
            for each in others:
                each.join(20)
            print(len(others) > 1, any(each.is_alive() for each in others), last.done())
        """
    )
    assert said == ["1", "2", "True", "False", "True"]


def test_semaphores_are_named_as_processes_are_told_and_stay_while_they_are_used():
    said = run(
        """
        import multiprocessing, os
        from mpidask.compat import python, servers
        from mpidask.launch.watchdog import shared_memory
        token = f"test-{os.getpid()}"
        there = lambda: len([name for name in os.listdir("/dev/shm") if token in name])
        remove = lambda: shared_memory.remove([shared_memory.semaphores(token)], but=shared_memory.semaphores_in_use())
        python.process_settings()["semprefix"] = shared_memory.semaphore_prefix(token)
        lock = multiprocessing.get_context("spawn").Lock()
        open(f"/dev/shm/sem.mp-{token}-of-another", "w").close()
        print(there())
        remove()
        print(there())
        """
    )
    assert said == ["2", "1"]


def test_without_settings_of_processes_changes_have_no_effect(monkeypatch):
    monkeypatch.setattr(multiprocessing, "current_process", object)
    assert python.process_settings() == {}


# -------------------------------------------------------------------------------- Dask's
def test_clients_and_workers_of_this_process_are_known():
    with (
        LocalCluster(n_workers=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        assert client in compat.clients()
        assert {each.address for each in compat.workers()} >= set(client.scheduler_info(n_workers=-1)["workers"])


def test_how_long_tasks_were_computed():
    kind, public = TaskPrefix("load"), types.SimpleNamespace(all_durations={"compute": 1.5})
    assert compat.seconds_computed([kind]) == [0]
    kind.add_duration("compute", 1.0, 1.5)
    kind.add_duration("compute", 2.0, 2.5)
    kind.add_duration("transfer", 2.0, 9.0)
    assert compat.seconds_computed([kind]) == [1.0]
    assert compat.seconds_computed([public]) == [1.5]


def test_the_default_client_is_found_as_it_is_told(monkeypatch):
    monkeypatch.setattr(distributed.client, "_get_global_client", distributed.client._get_global_client)
    compat.find_default_client_by(lambda original: original() or "ours")
    assert distributed.client.default_client() == "ours"


def test_files_of_the_configuration_are_read_once(tmp_path):
    (tmp_path / "a.yaml").write_text("a: 1\n")
    said = run(
        f"""
        import dask.config
        from mpidask.compat import dask as compat
        compat.read_configuration_once()
        print(*(each["a"] for each in dask.config.collect_yaml([{str(tmp_path)!r}])))
        open({str(tmp_path / "a.yaml")!r}, "w").write("a: 2")
        print(*(each["a"] for each in dask.config.collect_yaml([{str(tmp_path)!r}])))
        """
    )
    assert said == ["1", "1"]


def test_a_fork_server_is_left_alone(monkeypatch):
    monkeypatch.setattr(distributed.utils, "_forkserver_preload_set", False)
    told = []
    context = multiprocessing.get_context("forkserver")
    monkeypatch.setattr(type(context), "set_forkserver_preload", lambda self, modules: told.append(modules))
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        compat.leave_fork_server_alone()
        distributed.utils.get_mp_context()
        assert told == []
        monkeypatch.setattr(distributed.utils, "_forkserver_preload_set", False)
        distributed.utils.get_mp_context()
        assert told


def test_a_nanny_notices_at_once_that_its_worker_is_ready():
    said = run(
        """
        import asyncio, os
        os.environ["DASK_LOGGING__DISTRIBUTED"] = "critical"
        from distributed import Nanny, Scheduler
        from distributed.nanny import WorkerProcess
        from mpidask.compat import servers

        async def start():
            settings = {"dashboard_address": "127.0.0.1:0", "dashboard": False}
            async with Scheduler(port=0, **settings) as scheduler, Nanny(scheduler.address, **settings) as nanny:
                print(nanny.status.name)

        if __name__ == "__main__":
            WorkerProcess._init_msg_interval = 600
            servers.notice_ready_workers()
            servers.notice_ready_workers()
            asyncio.run(start())
        """
    )
    assert said == ["running"]


def test_clients_and_local_clusters_are_made_as_they_are_told():
    said = run(
        """
        import inspect
        import distributed
        from mpidask.compat import dask as compat
        before = inspect.signature(distributed.Client)
        compat.adjust_clients(lambda address, keywords: ("tcp://127.0.0.1:1", {**keywords, "timeout": 0.1}))
        compat.replace_local_cluster(lambda *given, **keywords: (*given, *keywords.values()))
        print(inspect.signature(distributed.Client) == before, *distributed.LocalCluster(1, n_workers=2))
        try:
            distributed.Client()
        except OSError as error:
            print("tcp://127.0.0.1:1" in str(error))
        class Derived(distributed.LocalCluster):
            def __init__(self):
                self.status = distributed.Status.closed
        print(type(Derived()).__name__)
        """
    )
    assert said == ["True", "1", "2", "True", "Derived"]


def test_each_tls_context_is_prepared_once(monkeypatch):
    for name in ("get_listen_args", "get_connection_args"):
        method = getattr(Security, name)
        monkeypatch.setattr(Security, name, getattr(method, "__wrapped__", method))
    prepared = []
    for _ in range(2):
        compat.prepare_tls_contexts(prepared.append)
    Security().get_connection_args("client")  # has no keys
    arguments = Security.temporary().get_connection_args("client"), Security.temporary().get_listen_args("worker")
    assert prepared == [each["ssl_context"] for each in arguments]


def test_it_is_known_why_a_worker_closes_and_how_its_process_ends():
    said = []

    async def closing(reason, more):
        said.append((reason, more))

    worker = types.SimpleNamespace(close=closing)
    servers.note_close(worker, said.append)
    asyncio.run(worker.close(reason="retired", more=1))
    assert said == ["retired", ("retired", 1)]
    nanny = types.SimpleNamespace(process=types.SimpleNamespace(on_exit=lambda code: said.append(f"restart {code}")))
    for _ in range(2):  # each time that its process is started
        servers.on_worker_exit(nanny, lambda code: said.append(f"report {code}"))
    nanny.process.on_exit(-9)
    assert said[2:] == ["report -9", "restart -9"]


def test_a_server_finds_its_pages_as_it_is_told():
    application = types.SimpleNamespace(find_handler=lambda request, **keywords: (request, keywords))
    server = types.SimpleNamespace(http_application=application)
    servers.find_pages_by(
        server, lambda request, find, **keywords: "shut" if request == "x" else find(request, **keywords)
    )
    assert application.find_handler("x") == "shut"
    assert application.find_handler("status", more=1) == ("status", {"more": 1})


def test_dasks_worker_command_uses_the_nannies_that_it_is_told(monkeypatch):
    monkeypatch.setattr(dask_worker, "Nanny", dask_worker.Nanny)
    servers.start_workers_by(dask_worker, int)
    assert dask_worker.Nanny is int


def test_something_is_done_before_dasks_worker_command_takes_signals(monkeypatch):
    said = []

    async def wait_for_signals():
        said.append("taken")
        return 15

    monkeypatch.setattr(dask_worker, "wait_for_signals", wait_for_signals)
    servers.before_signals(dask_worker, lambda: said.append("before"))
    assert asyncio.run(dask_worker.wait_for_signals()) == 15
    assert said == ["before", "taken"]


# ------------------------------------------------------------------- what a rank shares with its script
def test_the_main_module_is_hidden_and_os_exit_ends_as_it_is_told():
    said = run(
        """
        import os, pickle, sys
        from mpidask.compat import python, servers
        here = "here"
        with python.hidden_main():
            print(hasattr(sys.modules["__main__"], "here"))
        print(hasattr(sys.modules["__main__"], "here"))
        def end(status):
            print("end", status, flush=True)
        with python.ending_by_os_exit(end):
            print(pickle.loads(pickle.dumps(os._exit)) is os._exit)
            pid = os.fork()
            if not pid:
                os._exit(0)  # says nothing
            os.waitpid(pid, 0)
            sys.stdout.flush()
            os._exit(256)
        """
    )
    assert said == ["False", "True", "True", "end", "0"]


# ------------------------------------------------------------------- the fork server
def test_a_fork_server_is_a_fork():
    said = run(
        """
        import multiprocessing, sys
        from multiprocessing import forkserver
        from mpidask.compat import python, servers
        sys.inherited = "inherited"
        with python.forked_servers():
            forkserver.ensure_running()
        context = multiprocessing.get_context("forkserver")
        with context.Pool(1) as pool:
            print(pool.apply(eval, ("__import__('sys').inherited",)))
        """
    )
    assert said == ["inherited"]


def test_without_its_way_to_start_it_multiprocessing_does_as_ever(monkeypatch, caplog):
    resource_tracker.ensure_running()  # by that way, too
    monkeypatch.delattr(multiprocessing.util, "spawnv_passfds")
    caplog.set_level(logging.DEBUG, "mpidask.compat")
    with python.forked_servers():
        assert not hasattr(multiprocessing.util, "spawnv_passfds")
    assert "the fork server is a fork: not possible with this version" in caplog.text


def test_what_dask_reads_while_it_is_imported_is_known():
    """An agent that has imported Dask early compares it with the run's configuration."""
    found = set()
    for path in Path(distributed.__file__).parent.rglob("*.py"):
        if not {"tests", "dashboard"} & set(path.parts) and path.name != "utils_test.py":  # pages are imported later
            tree = ast.parse(path.read_text(encoding="utf-8"))
            found |= {
                call.args[0].value
                for statement in tree.body
                if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef)
                for call in _calls(statement)
            }
    assert "distributed.comm.offload" in found
    unknown = {key for key in found if not any(f"{key}.".startswith(f"{known}.") for known in READ_EARLY)}
    assert not unknown


def _calls(node):
    """Yield calls of dask.config.get, with a text, that are made when a module is imported."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        return
    if (
        isinstance(node, ast.Call)
        and ast.unparse(node.func) == "dask.config.get"
        and isinstance(node.args[0], ast.Constant)
    ):
        yield node
    for child in ast.iter_child_nodes(node):
        yield from _calls(child)
