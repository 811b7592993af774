# What editors and type checkers see of this package. `python tests/stubs.py` writes it.
import os
from collections.abc import Mapping, Sequence
from typing import Any

from mpi4py import MPI

from mpidask.attach.client import connect as connect
from mpidask.attach.cluster import MPICluster as _MPICluster
from mpidask.errors import ArgumentError as ArgumentError
from mpidask.errors import BatchError as BatchError
from mpidask.errors import LostError as LostError
from mpidask.errors import MpidaskError as MpidaskError
from mpidask.errors import StartupError as StartupError
from mpidask.errors import UsageError as UsageError
from mpidask.errors import WalltimeError as WalltimeError
from mpidask.errors import WorldTooSmallException as WorldTooSmallException
from mpidask.jobqueue import FluxCluster as FluxCluster
from mpidask.jobqueue import HTCondorCluster as HTCondorCluster
from mpidask.jobqueue import LocalJobCluster as LocalJobCluster
from mpidask.jobqueue import LSFCluster as LSFCluster
from mpidask.jobqueue import MoabCluster as MoabCluster
from mpidask.jobqueue import OARCluster as OARCluster
from mpidask.jobqueue import PBSCluster as PBSCluster
from mpidask.jobqueue import SGECluster as SGECluster
from mpidask.jobqueue import SLURMCluster as SLURMCluster
from mpidask.jobqueue.cluster.job_queue_cluster import JobQueueCluster as JobQueueCluster
from mpidask.launch.dask_mpi import execute as execute
from mpidask.launch.dask_mpi import initialize as initialize
from mpidask.launch.dask_mpi import send_close_signal as send_close_signal
from mpidask.launch.resources.walltime import on_walltime as on_walltime
from mpidask.launch.resources.walltime import time_left as time_left
from mpidask.launch.runner import SLURMRunner as _SLURMRunner
from mpidask.launch.session import Session as _Session

class MPICluster(_MPICluster):
    def __init__(
        self,
        *,
        name: str | None = None,
        asynchronous: bool = False,
        timeout: float | str | None = None,
        quiet: bool = False,
        system: str | None = None,
        nodes: int | None = None,
        ranks_per_node: int | None = None,
        cores_per_rank: int | None = None,
        gpus_per_rank: int | None = None,
        memory_per_node: str | float | None = None,
        walltime: str | None = None,
        queue: str | None = None,
        account: str | None = None,
        job_name: str | None = None,
        parallel_environment: str | None = None,
        directive: Sequence[str] | None = None,
        prologue: Sequence[str] | None = None,
        epilogue: Sequence[str] | None = None,
        launcher: str | None = None,
        python: str | None = None,
        container: str | None = None,
        container_runtime: str | None = None,
        container_bind: Sequence[str] | None = None,
        launch_timeout: str | None = None,
        requeue: bool | None = None,
        requeue_limit: int | None = None,
        poll_interval: str | None = None,
        state_directory: str | None = None,
        keep: str | None = None,
        profile: str | None = None,
        nthreads: int | None = None,
        memory_limit: str | float | None = None,
        local_directory: str | None = None,
        shared_scratch: bool | None = None,
        interface: str | None = None,
        client_interface: str | None = None,
        client_address: str | None = None,
        port_range: str | None = None,
        tls: bool | None = None,
        protocol: str | None = None,
        gpus: bool | None = None,
        nanny: bool | None = None,
        worker_class: str | None = None,
        worker_options: Mapping[str, Any] | None = None,
        data: str | None = None,
        workers_per_rank: str | int | None = None,
        inclusive_workers: bool | None = None,
        preload_import: Sequence[str] | None = None,
        import_cache: str | None = None,
        scheduler_rank: int | None = None,
        scheduler_file: str | None = None,
        scheduler_port: int | None = None,
        min_workers: int | None = None,
        idle_timeout: str | None = None,
        startup_timeout: str | None = None,
        dashboard: bool | None = None,
        dashboard_address: str | None = None,
        local_cluster: bool | None = None,
        walltime_margin: str | None = None,
        report: str | None = None,
        timeline: str | None = None,
        **others: Any,
    ) -> None: ...

class SLURMRunner(_SLURMRunner):
    def __init__(
        self,
        *,
        scheduler_file: str | os.PathLike[str] | None = None,
        scheduler_options: Mapping[str, Any] | None = None,
        worker_options: Mapping[str, Any] | None = None,
        profile: str | None = None,
        nthreads: int | None = None,
        memory_limit: str | float | None = None,
        local_directory: str | None = None,
        shared_scratch: bool | None = None,
        interface: str | None = None,
        client_interface: str | None = None,
        client_address: str | None = None,
        port_range: str | None = None,
        tls: bool | None = None,
        protocol: str | None = None,
        gpus: bool | None = None,
        nanny: bool | None = None,
        worker_class: str | None = None,
        data: str | None = None,
        name: str | None = None,
        workers_per_rank: str | int | None = None,
        inclusive_workers: bool | None = None,
        preload_import: Sequence[str] | None = None,
        import_cache: str | None = None,
        client_rank: int | None = None,
        scheduler_rank: int | None = None,
        scheduler: bool | None = None,
        scheduler_address: str | None = None,
        scheduler_port: int | None = None,
        min_workers: int | None = None,
        idle_timeout: str | None = None,
        startup_timeout: str | None = None,
        dashboard: bool | None = None,
        dashboard_address: str | None = None,
        thread_grace: str | None = None,
        local_cluster: bool | None = None,
        walltime_margin: str | None = None,
        report: str | None = None,
        quiet: bool | None = None,
        timeline: str | None = None,
        **options: Any,
    ) -> None: ...

class Session(_Session):
    def __init__(
        self,
        *,
        comm: MPI.Intracomm | None = None,
        exit: bool = False,
        profile: str | None = None,
        nthreads: int | None = None,
        memory_limit: str | float | None = None,
        local_directory: str | None = None,
        shared_scratch: bool | None = None,
        interface: str | None = None,
        client_interface: str | None = None,
        client_address: str | None = None,
        port_range: str | None = None,
        tls: bool | None = None,
        protocol: str | None = None,
        gpus: bool | None = None,
        nanny: bool | None = None,
        worker_class: str | None = None,
        worker_options: Mapping[str, Any] | None = None,
        data: str | None = None,
        name: str | None = None,
        workers_per_rank: str | int | None = None,
        inclusive_workers: bool | None = None,
        preload_import: Sequence[str] | None = None,
        import_cache: str | None = None,
        client_rank: int | None = None,
        scheduler_rank: int | None = None,
        scheduler: bool | None = None,
        scheduler_file: str | None = None,
        scheduler_address: str | None = None,
        scheduler_port: int | None = None,
        min_workers: int | None = None,
        idle_timeout: str | None = None,
        startup_timeout: str | None = None,
        dashboard: bool | None = None,
        dashboard_address: str | None = None,
        thread_grace: str | None = None,
        local_cluster: bool | None = None,
        walltime_margin: str | None = None,
        report: str | None = None,
        quiet: bool | None = None,
        timeline: str | None = None,
        **options: Any,
    ) -> None: ...

__version__: str
