"""Private names of Dask and distributed. Tested with 2025.1 to 2026.8."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable
from typing import Any

from mpidask.compat.missing import tolerated

__all__ = [
    "clients",
    "find_default_client_by",
    "find_statics_of_info_pages",
    "leave_fork_server_alone",
    "measure_ticks_anew",
    "read_configuration_once",
    "tick_no_later_than",
    "workers",
]


def clients() -> list[Any]:
    """Return the clients of this process, also those that have been closed; none where Dask is not imported."""
    return _instances("Client")


def workers() -> list[Any]:
    """Return the workers in this process."""
    return _instances("Worker")


def _instances(name: str) -> list[Any]:
    module: Any = sys.modules.get("distributed")
    with tolerated(f"each {name} of this process is known"):
        return [] if module is None else list(getattr(module, name)._instances)
    return []


def find_default_client_by(find: Callable[[Callable[[], Any]], Any]) -> None:
    """Have Dask ask `find` for the client that a function without one uses, such as ``.compute()``.

    find: gets what Dask would do, and returns a client or None. There is no hook for it: the public
          ``distributed.client.preload`` runs when a client is made.
    """
    client: Any = importlib.import_module("distributed.client")
    with tolerated("a client is made where the script has made none"):
        original = client._get_global_client
        client._get_global_client = functools.partial(find, original)


def read_configuration_once() -> None:
    """Have each file of Dask's configuration be read once in this process and those forked from it."""
    config: Any = importlib.import_module("dask.config")
    with tolerated("files of Dask's configuration are read once"):
        config._load_config_file = functools.cache(config._load_config_file)


def leave_fork_server_alone() -> None:
    """Have distributed not set what a fork server imports: it would import numpy, pandas and more here to see which."""
    utils: Any = importlib.import_module("distributed.utils")
    utils._forkserver_preload_set = True


def tick_no_later_than(server: Any, period: float, now: float) -> None:
    """Have a server's next tick measure from `period` s after its last one, or from now if that is earlier."""
    with tolerated("the lateness of an event loop at rest is measured"):
        server._last_tick = min(server._last_tick + period, now)


def measure_ticks_anew(server: Any, now: float) -> None:
    """Have the time between two ticks of a server count from now on, and its average stay as it was."""
    with tolerated("the average time between ticks leaves out the rest"):
        server._last_tick = now
        observed = server._tick_interval_observed
        server._cycle_ticks()
        server._tick_interval_observed = observed


def find_statics_of_info_pages() -> None:
    """Have the pages "Info" look for their styles under the dashboard's prefix, not one level above it.

    Where there is no prefix browsers do not go above the root, so that both are the same.
    """
    info: Any = importlib.import_module("distributed.http.scheduler.info")
    with tolerated("the pages Info have their styles"):
        info.rel_path_statics["rel_path_statics"] = "../.."
