"""Private names of other libraries are few, stand in compat, and may be missing."""

from __future__ import annotations

import ast
import asyncio
import atexit
import inspect
import logging
import multiprocessing.util
import queue
import re
import threading
import types
from multiprocessing import resource_tracker

import dask.config
import distributed
import distributed.client
import distributed.nanny
import distributed.utils
import nbclient
import nbformat
import private_names
import pytest
from distributed.deploy.cluster import Cluster
from distributed.deploy.spec import SpecCluster

from mpidask.compat import dask as compat
from mpidask.compat import python, servers
from mpidask.compat.fixed_size_cluster import FixedSizeCluster
from mpidask.compat.notebooks import EndingNotebookClient
from mpidask.compat.stepped_cluster import SteppedCluster

pytestmark = pytest.mark.one_mpi

COMPAT = private_names.PACKAGE / "compat"

MOST = 24  # 14 today


@pytest.fixture(scope="module")
def found():
    return private_names.found()


def test_they_are_few(found):
    assert len(found) <= MOST, sorted(found)


def test_they_stand_in_compat(found):
    elsewhere = {
        (name, *place)
        for name, places in found.items()
        for place in places
        if not place[0].startswith("mpidask.compat.")
    }
    assert elsewhere == set()


def test_they_are_found(tmp_path, monkeypatch):
    """By each of the ways in which they may be used; what a package gives to something itself is its own."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import threading\n"
        "from concurrent.futures._base import Error\n"
        "class Ours(threading.Thread):\n"
        "    _target = _own = None\n"
        "    def run(self):\n"
        "        self._args = self._own\n"
        "    def _bootstrap(self):\n"
        "        super()._delete()\n"
        "threading._shutdown, getattr(threading, '_active'), Ours()._args, Ours._own\n"
        "NAMES = ('email._policybase',)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(private_names, "PACKAGE", package)
    found = {"_base", "_target", "_args", "_bootstrap", "_delete", "_shutdown", "_active", "_policybase"}
    assert private_names.found().keys() == found


# ----------------------------------------------------------------------- where one is gone
def fork_server():
    with python.forked_servers():
        assert not hasattr(multiprocessing.util, "spawnv_passfds")


def cluster():
    """Connect one to a scheduler, which is all that is known then."""

    async def connect():
        async with distributed.Scheduler(port=0, dashboard=False, dashboard_address="127.0.0.1:0") as scheduler:
            made = FixedSizeCluster(asynchronous=True)
            made.scheduler_comm = distributed.rpc(scheduler.address)
            await made.connect()
            assert (made.status.name, made.scheduler_info["id"]) == ("running", scheduler.id)
            await made.close()

    asyncio.run(connect())


def made(kind, *step):
    """Make a cluster object, and have it take one of Dask's steps."""

    async def take():
        found = kind(asynchronous=True)
        done = getattr(found, step[0])(*step[1:]) if step else None
        if inspect.isawaitable(done):
            await done
        found.status = distributed.Status.closed

    asyncio.run(take())


def end_of_the_main_thread():
    ended = []
    function = lambda: ended.append(True)  # noqa: E731
    assert python.at_the_end_of_the_main_thread(function)() is None
    assert ended == []
    atexit.unregister(function)


def empty(*names):
    return types.SimpleNamespace(**dict.fromkeys(names))


def queue_of_a_worker():
    """Wait for a worker's process by a queue that has no descriptor."""
    servers.notice_ready_workers()
    process = empty("worker", "stopped")
    process.status, results = distributed.Status.starting, queue.Queue()
    results.put({"uid": "its own", "address": "there"})
    waiting = distributed.nanny.WorkerProcess._wait_until_connected
    if "init_result_q" in inspect.signature(inspect.unwrap(waiting)).parameters:
        asyncio.run(waiting(process, "its own", results))
    else:
        process.init_result_q = results
        asyncio.run(waiting(process, "its own"))


#: A kind of tasks as Dask's scheduler promises it.
KIND = types.SimpleNamespace(all_durations={"compute": 1.5})

#: Name -> where it is, and what uses it.
USES = {
    "_config": (multiprocessing, "current_process", lambda: python.process_settings().clear()),
    "_forkserver_preload_set": (distributed.utils, "_forkserver_preload_set", compat.leave_fork_server_alone),
    "_get_global_client": (distributed.client, "_get_global_client", lambda: compat.find_default_client_by(print)),
    "_load_config_file": (dask.config, "_load_config_file", compat.read_configuration_once),
    "_reader": (None, None, queue_of_a_worker),
    "_all_durations_us": (None, None, lambda: compat.seconds_computed([KIND])),
    "_run_exitfuncs": (atexit, "_run_exitfuncs", python.run_exit_handlers),
    "_shutdown": (threading, "_shutdown", end_of_the_main_thread),
    "_start": (Cluster, "_start", cluster),
    # Of classes that Dask means to be derived from.
    "_close": ((SpecCluster, Cluster), "_close", lambda: made(SteppedCluster, "_close")),
    "_correct_state": (SpecCluster, "_correct_state", lambda: made(SteppedCluster, "_correct_state")),
    "_new_worker_name": (SpecCluster, "_new_worker_name", lambda: made(SteppedCluster, "_new_worker_name", 1)),
    "_scaling_status": (Cluster, "_scaling_status", lambda: made(FixedSizeCluster, "_repr_html_")),
    "_wait_until_connected": (
        distributed.nanny.WorkerProcess,
        "_wait_until_connected",
        servers.notice_ready_workers,
    ),
    "_widget": (Cluster, "_widget", lambda: made(FixedSizeCluster, "_widget")),
    "SpecCluster._start": ((SpecCluster, Cluster), "_start", lambda: made(SteppedCluster, "_start")),
    "_supports_scaling": ((SpecCluster, Cluster), "_supports_scaling", lambda: made(FixedSizeCluster)),
    "_update_worker_status": (
        (SpecCluster, Cluster),
        "_update_worker_status",
        lambda: made(SteppedCluster, "_update_worker_status", "add", {}),
    ),
    "_async_cleanup_kernel": (
        nbclient.NotebookClient,
        "_async_cleanup_kernel",
        lambda: EndingNotebookClient(nbformat.v4.new_notebook()),
    ),
    # Names that are not private, but that nobody has promised.
    "spawnv_passfds": (multiprocessing.util, "spawnv_passfds", fork_server),
    "LocalCluster": (distributed, "LocalCluster", lambda: compat.replace_local_cluster(print)),
    "Client": (distributed, "Client", lambda: compat.adjust_clients(print)),
    "error_message": (distributed.versions, "error_message", lambda: servers.compare_versions_by(print)),
    "get_listen_args": (
        distributed.security.Security,
        "get_listen_args",
        lambda: compat.prepare_tls_contexts(print),
    ),
    "remove_worker": (None, None, lambda: servers.handle_leaving_workers_by(empty(), print)),
    "on_exit": (None, None, lambda: servers.on_worker_exit(empty("process"), print)),
    "close": (None, None, lambda: servers.note_close(empty(), print)),
    "Nanny": (None, None, lambda: servers.start_workers_by(empty(), distributed.Nanny)),
    "wait_for_signals": (None, None, lambda: servers.before_signals(empty(), print)),
    "NVML_STATE": (distributed.diagnostics.nvml, "NVMLState", servers.switch_gpu_monitor_off),
}


@pytest.mark.parametrize("name", USES)
def test_where_one_is_gone_dask_does_as_ever(name, monkeypatch, caplog):
    resource_tracker.ensure_running()  # by spawnv_passfds, too
    place, attribute, use = USES[name]
    security = distributed.security.Security
    monkeypatch.setattr(security, "get_connection_args", security.get_connection_args)  # what a use changes is put back
    monkeypatch.setattr(distributed.diagnostics.nvml, "NVML_STATE", distributed.diagnostics.nvml.NVML_STATE)
    process = distributed.nanny.WorkerProcess
    monkeypatch.setattr(process, "_wait_until_connected", process._wait_until_connected)
    for names in ("DEFAULT_METRICS", "DEFAULT_STARTUP_INFORMATION"):
        monkeypatch.setattr(distributed.worker, names, dict(getattr(distributed.worker, names)))
    if name == "_config":
        monkeypatch.setattr(multiprocessing, "current_process", empty)
    for each in place if isinstance(place, tuple) else () if name == "_config" or place is None else (place,):
        monkeypatch.delattr(each, attribute)
    caplog.set_level(logging.DEBUG, "mpidask.compat")
    with dask.config.set({}):
        use()
    said = [record.getMessage() for record in caplog.records if record.name == "mpidask.compat"]
    assert len(said) == 1, said
    assert ": not possible with this version (" in said[0]


def test_each_has_such_a_test(found):
    ours = {name for name, places in found.items() for module, _ in places if module.startswith("mpidask.compat.")}
    assert ours <= USES.keys()


#: Modules of compat that replace nothing: what they have is public, or ours.
NO_PATCHES = {"callable_modules", "dask_settings", "missing", "setting"}


@pytest.mark.parametrize("name", sorted({path.stem for path in COMPAT.glob("[!_]*.py")} - NO_PATCHES))
def test_each_patch_says_with_what_it_was_tested_and_where_upstream_knows_of_it(name):
    tree = ast.parse((COMPAT / f"{name}.py").read_text())
    assert "Tested with " in ast.get_docstring(tree).replace("\n", " ")
    patches = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    upstream = re.compile(r"^Upstream: (no issue|https://github\.com/[\w/]+/issues/\d+)\.$", re.MULTILINE)
    without = {name for name, node in patches.items() if not upstream.search(ast.get_docstring(node) or "")}
    (public,) = (ast.literal_eval(node.value) for node in tree.body if is_all(node))
    assert without & set(public) - {"has_lost_connection", "is_needed", "note_reason"} == set()


def is_all(node):
    return isinstance(node, ast.Assign) and node.targets[0].id == "__all__"


def test_pages_that_cannot_be_gated_are_an_error():
    """A dashboard for everybody is no way out."""
    with pytest.raises(AttributeError):
        servers.find_pages_by(empty(), bool)
