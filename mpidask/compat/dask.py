"""Private names of Dask and distributed. Tested with 2025.1 to 2026.8."""

from __future__ import annotations

import functools
import gc
import importlib
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mpidask.compat.missing import not_possible, tolerated
from mpidask.compat.setting import optimized

if TYPE_CHECKING:
    import ssl

__all__ = [
    "adjust_clients",
    "clients",
    "find_default_client_by",
    "find_statics_of_info_pages",
    "leave_fork_server_alone",
    "prepare_tls_contexts",
    "read_configuration_once",
    "replace_local_cluster",
    "seconds_computed",
    "workers",
]

_PREPARES = "mpidask_prepares"


def clients() -> list[Any]:
    """Return the clients of this process, also those that have been closed; none where Dask is not imported.

    Upstream: no issue.
    """
    return _instances("Client")


def workers() -> list[Any]:
    """Return the workers in this process.

    Upstream: no issue.
    """
    return _instances("Worker")


def _instances(name: str) -> list[Any]:
    """Return the objects of one of Dask's classes, found by their type: Dask's own list of them is private."""
    kind: Any = getattr(sys.modules.get("distributed"), name, None)
    if kind is None:
        return []
    return [each for each in gc.get_objects() if issubclass(type(each), kind) and hasattr(each, "scheduler")]


def seconds_computed(prefixes: Sequence[Any]) -> list[float]:
    """Return for how long tasks of some kinds were computed, each a `TaskPrefix` of a scheduler.

    The public `all_durations` makes a copy at each look, which takes twice as long; scripts may make a kind of each
    task.

    Upstream: no issue.
    """
    with tolerated("how long tasks were computed is read without copies"):
        return [prefix._all_durations_us.get("compute", 0) / 1e6 for prefix in prefixes]
    return [prefix.all_durations["compute"] for prefix in prefixes]


def adjust_clients(
    adjust: Callable[[Any, dict[str, Any]], tuple[Any, dict[str, Any]]], made: Callable[[], None] = lambda: None
) -> None:
    """Have `adjust` change the address and the keywords that each client of this process is made with.

    There is no hook for it: Dask's configuration has one address, and no keywords, for clients without an address.

    adjust: gets both, and returns both
    made:   called when one is there

    Upstream: no issue.
    """
    distributed: Any = importlib.import_module("distributed")
    with tolerated("a client without an address is one of the run's cluster"):
        client = distributed.Client
        original = client.__init__

        @functools.wraps(original)
        def __init__(self: Any, address: Any = None, *args: Any, **keywords: Any) -> None:  # noqa: N807
            address, keywords = adjust(address, keywords)
            original(self, address, *args, **keywords)
            made()

        client.__init__ = __init__


def replace_local_cluster(make: Callable[..., Any]) -> None:
    """Have ``LocalCluster(...)`` return what `make` returns; classes that are derived from it stay as they are.

    There is no hook for it, and the class itself stays for those that derive from it or ask for instances.

    Upstream: no issue.
    """
    distributed: Any = importlib.import_module("distributed")
    with tolerated("LocalCluster is the run's cluster"):
        local_cluster = distributed.LocalCluster

        def __new__(cls: Any, *args: Any, **keywords: Any) -> Any:  # noqa: N807
            return make(*args, **keywords) if cls is local_cluster else object.__new__(cls)

        local_cluster.__new__ = __new__


def find_default_client_by(find: Callable[[Callable[[], Any]], Any]) -> None:
    """Have Dask ask `find` for the client that a function without one uses, such as ``.compute()``.

    find: gets what Dask would do, and returns a client or None. There is no hook for it: the public
          ``distributed.client.preload`` runs when a client is made.

    Upstream: no issue.
    """
    client: Any = importlib.import_module("distributed.client")
    with tolerated("a client is made where the script has made none"):
        original = client._get_global_client
        client._get_global_client = functools.partial(find, original)


def read_configuration_once() -> None:
    """Have each file of Dask's configuration be read once in this process and those forked from it.

    Upstream: no issue.
    """
    if not optimized():
        return
    config: Any = importlib.import_module("dask.config")
    with tolerated("files of Dask's configuration are read once"):
        config._load_config_file = functools.cache(config._load_config_file)


def leave_fork_server_alone() -> None:
    """Have distributed not set what a fork server imports: it would import numpy, pandas and more here to see which.

    Upstream: no issue.
    """
    if not optimized():
        return
    utils: Any = importlib.import_module("distributed.utils")
    if hasattr(utils, "_forkserver_preload_set"):
        utils._forkserver_preload_set = True
    else:
        not_possible("the fork server's preload stays as it is", "distributed.utils._forkserver_preload_set is gone")


def prepare_tls_contexts(prepare: Callable[[ssl.SSLContext], None]) -> None:
    """Have `prepare` called for each TLS context that Dask makes in this process, whoever has made the keys.

    Dask has no hook for it. Only the first call has an effect.

    Upstream: https://github.com/python/cpython/issues/148594.
    """
    security: Any = importlib.import_module("distributed.security")
    for name in ("get_listen_args", "get_connection_args"):
        with tolerated("errors of one TLS connection are kept from others"):
            method = getattr(security.Security, name)
            if not hasattr(method, _PREPARES):
                setattr(security.Security, name, _preparing(method, prepare))


def _preparing(method: Callable[..., Any], prepare: Callable[[ssl.SSLContext], None]) -> Callable[..., Any]:
    @functools.wraps(method)
    def arguments(self: Any, *args: Any, **keywords: Any) -> Any:
        result = method(self, *args, **keywords)
        if (context := result.get("ssl_context")) is not None:
            prepare(context)
        return result

    setattr(arguments, _PREPARES, True)
    return arguments


def find_statics_of_info_pages() -> None:
    """Have the pages "Info" look for their styles under the dashboard's prefix, not one level above it.

    Where there is no prefix browsers do not go above the root, so that both are the same.

    Upstream: no issue.
    """
    info: Any = importlib.import_module("distributed.http.scheduler.info")
    with tolerated("the pages Info have their styles"):
        info.rel_path_statics["rel_path_statics"] = "../.."
