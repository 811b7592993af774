"""What servers need where there are GPUs: one for each worker, and a monitor that cannot stop them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from distributed import Nanny, Worker
from distributed.core import Server
from distributed.diagnostics import nvml

from mpidask.compat.servers import switch_gpu_monitor_off
from mpidask.errors import StartupError, warn
from mpidask.launch.resources import cuda
from mpidask.launch.resources.division import WorkerSpec
from mpidask.launch.servers.specs import WorkerGroupSpec

__all__ = ["prepare", "settle", "to_make"]

_CUDA = "CUDA_VISIBLE_DEVICES"


def prepare(environ: Mapping[str, str], gpus: Iterable[str] = (), *, reporter: int | None = None) -> None:
    """Set variables for this process's servers, and switch Dask's monitor of GPUs off if it would raise in them.

    gpus:     what the visible-devices variable is to be for workers
    reporter: the rank, if it is the one that reports this: all others may have the same to report
    """
    os.environ.update(environ)
    before = os.environ.get(_CUDA)
    try:
        for value in dict.fromkeys([before, *gpus]):
            _look(value)
    except Exception as error:  # noqa: BLE001 - whatever NVML has to say
        switch_gpu_monitor_off()
        if reporter is not None:
            warn(
                f"Dask does not monitor the GPUs of rank {reporter}, NVML refuses: "
                f"{type(error).__name__}: {error}; {_CUDA} is {'not set' if before is None else repr(before)} there",
                "name GPUs that are there, or switch the monitor off: DASK_DISTRIBUTED__DIAGNOSTICS__NVML=False",
                key="gpus",
            )
    finally:
        if before is not None:
            os.environ[_CUDA] = before
        else:
            os.environ.pop(_CUDA, None)


def _look(value: str | None) -> None:
    """Ask NVML what each server will ask; nothing without the package nvidia-ml-py or without NVIDIA's driver."""
    if value is not None:
        os.environ[_CUDA] = value
    monitor: Any = nvml  # which has no types
    if monitor.device_get_count() > 0:
        monitor.one_time()
        monitor.real_time()


def settle(worker: WorkerSpec, *, choice: bool) -> None:
    """Have this process, a rank's, see its worker's GPU alone.

    choice: whether it sees several now
    """
    assert worker.gpu is not None
    if choice and cuda.is_initialised():
        warn(
            f"rank {worker.rank} had initialised CUDA before its worker got a GPU: the worker uses "
            f"the first that {worker.gpu_variable} showed then, as workers of other ranks may",
            f"have the launcher set {worker.gpu_variable} for each rank, or use workers with nannies",
            key="gpus",
        )
    os.environ[worker.gpu_variable] = worker.gpu


def to_make(cls: type[Server], spec: WorkerGroupSpec) -> Sequence[WorkerSpec]:
    """Return the workers to make, as servers of that class.

    dask_cuda.CUDAWorker, a server without being Dask's Worker or Nanny, starts a nanny for each GPU that it sees, and
    names their workers by appending numbers: one for all GPUs of the rank. Raises StartupError where it cannot.
    """
    if issubclass(cls, Worker | Nanny) or cls.__module__.partition(".")[0] != "dask_cuda":
        return spec.workers
    first, gpus = spec.workers[0], [worker.gpu for worker in spec.workers if worker.gpu]
    if not gpus:
        raise StartupError(
            f"rank {first.rank} has no GPU, which --worker-class {spec.worker_class} needs",
            "ask for GPUs, or leave --worker-class out",
        )
    if len(set(gpus)) < len(spec.workers):
        raise StartupError(
            f"{len(spec.workers)} workers on rank {first.rank} would share {len(set(gpus))} of its GPUs, but "
            f"{spec.worker_class} starts one for each",
            "leave --workers-per-rank out",
        )
    if spec.data is not None:
        raise StartupError(
            f"--data has no meaning with --worker-class {spec.worker_class}, which keeps its data itself",
            """leave it out; --worker-options '{"device_memory_limit": "60 GiB"}' says when it spills""",
        )
    os.environ[first.gpu_variable] = ",".join(gpus)
    name = first.name if len(gpus) == 1 else str(first.name).rpartition("-")[0]
    return [dataclasses.replace(first, name=name)]
