"""Private names of other libraries are few, stand in compat, and may be missing."""

from __future__ import annotations

import asyncio
import atexit
import logging
import multiprocessing.util
import threading
import types
from multiprocessing import resource_tracker

import dask.config
import distributed
import distributed.client
import distributed.deploy.cluster
import distributed.utils
import private_names
import pytest

from mpidask.compat import dask as compat
from mpidask.compat import python, servers
from mpidask.compat.fixed_size_cluster import FixedSizeCluster

pytestmark = pytest.mark.one_mpi

MOST = 24  # 13 today


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


def end_of_the_main_thread():
    ended = []
    function = lambda: ended.append(True)  # noqa: E731
    assert python.at_the_end_of_the_main_thread(function)() is None
    assert ended == []
    atexit.unregister(function)


def empty(*names):
    return types.SimpleNamespace(**dict.fromkeys(names))


#: Name -> where it is, and what uses it.
USES = {
    "_config": (multiprocessing, "current_process", lambda: python.process_settings().clear()),
    "_forkserver_preload_set": (distributed.utils, "_forkserver_preload_set", compat.leave_fork_server_alone),
    "_get_global_client": (distributed.client, "_get_global_client", lambda: compat.find_default_client_by(print)),
    "_load_config_file": (dask.config, "_load_config_file", compat.read_configuration_once),
    "_run_exitfuncs": (atexit, "_run_exitfuncs", python.run_exit_handlers),
    "_shutdown": (threading, "_shutdown", end_of_the_main_thread),
    "_start": (distributed.deploy.cluster.Cluster, "_start", cluster),
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
    "NVML_STATE": (distributed.diagnostics.nvml, "NVMLState", servers.switch_gpu_monitor_off),
}

#: Names that a class of ours has for Dask to find: where Dask does not look for them any more, nothing happens.
OFFERED = {"_new_worker_name", "_scaling_status", "_supports_scaling"}

#: Names by which a class that Dask means to be derived from takes its steps: its own tests say what they do.
STEPS = {"_close", "_correct_state", "_update_worker_status"}


@pytest.mark.parametrize("name", USES)
def test_where_one_is_gone_dask_does_as_ever(name, monkeypatch, caplog):
    resource_tracker.ensure_running()  # by spawnv_passfds, too
    place, attribute, use = USES[name]
    security = distributed.security.Security
    monkeypatch.setattr(security, "get_connection_args", security.get_connection_args)  # what a use changes is put back
    monkeypatch.setattr(distributed.diagnostics.nvml, "NVML_STATE", distributed.diagnostics.nvml.NVML_STATE)
    for names in ("DEFAULT_METRICS", "DEFAULT_STARTUP_INFORMATION"):
        monkeypatch.setattr(distributed.worker, names, dict(getattr(distributed.worker, names)))
    if name == "_config":
        monkeypatch.setattr(multiprocessing, "current_process", empty)
    elif place is not None:
        monkeypatch.delattr(place, attribute)
    caplog.set_level(logging.DEBUG, "mpidask.compat")
    with dask.config.set({}):
        use()
    said = [record.getMessage() for record in caplog.records if record.name == "mpidask.compat"]
    assert len(said) == 1, said
    assert ": not possible with this version (" in said[0]


def test_each_has_such_a_test(found):
    ours = {name for name, places in found.items() for module, _ in places if module.startswith("mpidask.compat.")}
    assert ours <= USES.keys() | OFFERED | STEPS


def test_pages_that_cannot_be_gated_are_an_error():
    """A dashboard for everybody is no way out."""
    with pytest.raises(AttributeError):
        servers.gate_pages(empty(), bool)
