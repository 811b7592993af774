"""What dask-labextension makes: clusters of the batch system here, unless the user says otherwise."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Iterator, Mapping
from typing import Any

import dask.config
from traitlets import log

__all__ = ["configure", "new_cluster"]

_OURS = {"module": __name__, "class": "new_cluster"}
_SAME = {"torque": "pbs"}  # what one class submits to
_DEFAULT = "labextension.default"  # the size of a new cluster
_NOT_FOUND = "this server finds no batch system's commands on its PATH, and mpidask.batch.system names none"


def configure() -> Iterator[str]:
    """Set what the user's configuration leaves open; yield remarks on what it says in vain."""
    importlib.import_module("dask_labextension.config")  # its defaults, over which ours go
    if not _configured().get("class"):
        dask.config.set({f"labextension.factory.{name}": value for name, value in _OURS.items()})
    factory = dask.config.get("labextension.factory")
    given = [name for name, value in dask.config.get(_DEFAULT, {}).items() if value is not None]
    if (factory["module"].partition(".")[0], factory["class"]) == ("mpidask", "MPICluster") and given:
        dask.config.set({f"{_DEFAULT}.{name}": None for name in given})
        yield f"{_DEFAULT}.{given[0]} is ignored: the size of an MPICluster is fixed; set labextension.factory.kwargs"


def _configured() -> Mapping[str, Any]:
    """Return the factory that the user's own files and variables have, without anybody's defaults."""
    found = dask.config.collect().get("labextension") or {}
    return found.get("factory") or {}


async def new_cluster(*args: Any, **keywords: Any) -> Any:
    """Return a cluster of jobs of the batch system that is here; of jobs on this machine where there is none.

    Each has TLS: others may have accounts on the server's machine.

    Parameters
    ----------
    *args, **keywords : Any
        Arguments of the class.

    Returns
    -------
    distributed.deploy.Cluster
        A cluster that has started.
    """
    from mpidask.batch.registry import find_here

    system = await asyncio.to_thread(find_here)
    kind = _class_for(system.name)
    why = f"the batch system is {system.title}" if system.name != "local" else _NOT_FOUND
    log.get_logger().info("mpidask: NEW starts a %s: %s", kind.__name__, why)
    return await kind(*args, **(_sized(keywords) if system.name == "local" else keywords))


def _sized(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return keywords of jobs on this machine; where the user says no size, all of it is divided among workers."""
    from distributed.deploy.utils import nprocesses_nthreads
    from distributed.system import MEMORY_LIMIT

    from mpidask.jobqueue.keywords.lookup import settle_one

    if settle_one("local", "local", "cores", keywords.get("cores"), "LocalJobCluster") is not None:
        return dict(keywords)
    workers, threads = nprocesses_nthreads()  # type: ignore[no-untyped-call]  # as Dask's LocalCluster
    ours = {"n_workers": workers, "processes": 1, "cores": threads, "memory": MEMORY_LIMIT // workers}
    return {**ours, **keywords}


def _class_for(system: str) -> Any:
    system = _SAME.get(system, system)
    from mpidask import jobqueue

    known = [getattr(jobqueue, name) for name in dir(jobqueue) if name.endswith("Cluster")]
    for kind in known:
        if kind.job_cls is not None and kind.job_cls.native_name() == system:
            return kind
    from mpidask.errors import UsageError

    raise UsageError(
        f"no cluster class is known for the batch system {system}",
        "name it in ~/.config/dask/labextension.yaml: labextension: {factory: {module: mpidask, class: SLURMCluster}}",
    )
