"""`SLURMRunner`: a session by the name and with the arguments that dask-jobqueue has for it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from mpidask.errors import UsageError
from mpidask.launch.session import Session

__all__ = ["SLURMRunner"]

#: Options of dask_jobqueue's runner for its servers -> options of ours.
_SCHEDULER = {"port": "scheduler_port", "interface": "interface", "dashboard_address": "dashboard_address"}
_WORKER = {"nthreads": "nthreads", "memory_limit": "memory_limit", "local_directory": "local_directory"}


class SLURMRunner(Session):
    """A Dask cluster on the tasks of a Slurm step: ``srun -n 8 python script.py``.

    ::

        with SLURMRunner() as runner, Client(runner) as client:
            ...

    One task hosts the scheduler, one goes on with the script, the others are workers and end with it; as `Session`
    with ``exit=True``, which needs MPI but not Slurm.

    scheduler_file:    file that tells others where the scheduler is
    scheduler_options: port, interface, dashboard_address
    worker_options:    nthreads, memory_limit, local_directory; all else is for the worker class
    options:           those of `Session`
    Raises UsageError for an option that cannot be used.
    """

    def __init__(
        self,
        *,
        scheduler_file: str | os.PathLike[str] | None = None,
        scheduler_options: Mapping[str, Any] | None = None,
        worker_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        given = dict(options)
        if scheduler_file is not None:
            given["scheduler_file"] = os.fspath(scheduler_file)
        for name, value in (scheduler_options or {}).items():
            if name not in _SCHEDULER:
                raise UsageError(
                    f"scheduler_options has {name!r}",
                    f"it takes {', '.join(_SCHEDULER)}; options of Session stand alone",
                )
            given[_SCHEDULER[name]] = value
        others = dict(worker_options or {})
        given |= {ours: others.pop(name) for name, ours in _WORKER.items() if name in others}
        if others:
            given["worker_options"] = others
        super().__init__(exit=True, **given)
