"""Each private name of another library that mpidask uses is there, does what it is used for, and may be missing.

These tests run in each cell of the matrix, too: names differ between versions.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import multiprocessing
import subprocess
import sys
import textwrap
from multiprocessing import resource_tracker

import dask.config
import distributed.client
import distributed.utils
import pytest
from distributed import Client, LocalCluster

from mpidask.compat import dask as compat
from mpidask.compat import python
from mpidask.compat.missing import tolerated

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
        from mpidask.compat import python
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
        from mpidask.compat import python
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


def test_a_child_gets_the_interpreters_options():
    code = "from mpidask.compat import python; print(*python.interpreter_flags())"
    assert run(code, "-O", "-B") == ["-O", "-B"]


def test_pools_end_when_they_are_told():
    said = run(
        """
        import concurrent.futures, threading
        from mpidask.compat import python
        if __name__ == "__main__":
            threads = concurrent.futures.ThreadPoolExecutor(1)
            processes = concurrent.futures.ProcessPoolExecutor(1)
            print(threads.submit(int, "1").result(), processes.submit(int, "2").result())
            (thread,) = python.threads_of_pools()
            manager = processes._executor_manager_thread
            python.end_process_pools()
            python.end_thread_pools()
            for each in (thread, manager):
                each.join(20)
                print(each.is_alive())
        """
    )
    assert said == ["1", "2", "False", "False"]


def test_processes_name_their_semaphores_as_they_are_told():
    said = run(
        """
        import multiprocessing, os
        from mpidask.compat import python
        prefix = f"/mpidask-test-{os.getpid()}"
        there = lambda: len([name for name in os.listdir("/dev/shm") if prefix[1:] in name])
        python.process_settings()["semprefix"] = prefix
        lock = multiprocessing.get_context("spawn").Lock()
        print(there())
        python.drop_semaphores(prefix)
        print(there())
        """
    )
    assert said == ["1", "0"]


def test_without_names_of_thread_pools_nothing_breaks(monkeypatch):
    monkeypatch.delattr(concurrent.futures.thread, "_threads_queues")
    assert python.threads_of_pools() == set()
    monkeypatch.delattr(concurrent.futures.thread, "_global_shutdown_lock")
    python.end_thread_pools()


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


def test_ticks_of_a_server_at_rest():
    async def measure():
        async with distributed.Scheduler(port=0, dashboard=False, dashboard_address="127.0.0.1:0") as scheduler:
            observed = scheduler._tick_interval_observed
            compat.tick_no_later_than(scheduler, 1000.0, 5.0)
            assert scheduler._last_tick == 5.0
            compat.measure_ticks_anew(scheduler, 7.0)
            assert scheduler._tick_interval_observed == observed

    asyncio.run(measure())
    compat.tick_no_later_than(object(), 1.0, 1.0)
    compat.measure_ticks_anew(object(), 1.0)


# ------------------------------------------------------------------- the fork server
def test_a_fork_server_is_a_fork():
    said = run(
        """
        import multiprocessing, sys
        from multiprocessing import forkserver
        from mpidask.compat import python
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
