"""Which ports servers listen on, where the user allows only some."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

from distributed import Worker
from distributed.core import Server

from mpidask.launch.servers.specs import SchedulerSpec, WorkerGroupSpec

__all__ = ["arguments", "explained", "settled"]


def settled(spec: SchedulerSpec) -> SchedulerSpec:
    """Return how a scheduler is to listen, with a port wherever none was said; raises StartupError if none is free."""
    if spec.ports is None:
        return spec
    port = spec.port or spec.ports.free()
    taken, clients = {port}, spec.clients
    if clients is not None:
        clients = clients[0], clients[1] or spec.ports.free(taken)
        taken.add(clients[1])
    dashboard = spec.ports.with_port(spec.dashboard_address, taken) if spec.dashboard else spec.dashboard_address
    return dataclasses.replace(spec, port=port, clients=clients, dashboard_address=dashboard)


def arguments(cls: type[Server], spec: WorkerGroupSpec) -> dict[str, Any]:
    """Return the arguments of a worker, or of what starts it: Dask tries one port after the other."""
    if spec.ports is None:
        return {}
    of_nanny = not issubclass(cls, Worker) or spec.nanny
    return dict.fromkeys(("port", "worker_port") if of_nanny else ("port",), str(spec.ports))


@contextlib.contextmanager
def explained(spec: WorkerGroupSpec) -> Iterator[None]:
    """Raise StartupError for workers that did not start because too few ports are free.

    What Dask says of a worker that found none does not come out of its process.
    """
    try:
        yield
    except Exception as error:
        each = 2 if spec.nanny else 1
        shortage = spec.ports.shortage(each * len(spec.workers)) if spec.ports is not None else None
        if shortage is None:
            raise
        raise shortage from error
