"""`SLURMRunner`: a session by the name and with the arguments that dask-jobqueue has for it."""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Mapping
from typing import Any

from mpidask.config import Options
from mpidask.docstrings import keyword_of, show_keywords
from mpidask.errors import UsageError
from mpidask.launch.session import Session

__all__ = ["SLURMRunner"]

#: Options of dask_jobqueue's runner for its servers -> options of ours.
_SCHEDULER = {"port": "scheduler_port", "interface": "interface", "dashboard_address": "dashboard_address"}
_WORKER = {"nthreads": "nthreads", "memory_limit": "memory_limit", "local_directory": "local_directory"}


class SLURMRunner(Session):
    """A Dask cluster on the tasks of a Slurm step: ``srun -n 8 python script.py``.

    One task hosts the scheduler, one goes on with the script, the others are workers and end with it. This is a
    `Session` with ``exit=True`` under the name of dask-jobqueue's runner. It needs MPI, but not Slurm.

    Parameters
    ----------
    scheduler_file : str or path, optional
        File that tells others where the scheduler is.
    scheduler_options : mapping, optional
        ``port``, ``interface`` and ``dashboard_address`` of the scheduler.
    worker_options : mapping, optional
        ``nthreads``, ``memory_limit`` and ``local_directory``; all else goes to the worker class.
    **options : Any
        Refused, with the keyword that may be meant. All above are those of `Session`.

    Raises
    ------
    UsageError
        An option cannot be used.

    See Also
    --------
    Session : The same, in a program that goes on afterwards.

    Examples
    --------
    >>> with SLURMRunner() as runner, Client(runner) as client:  # doctest: +SKIP
    ...     client.submit(sum, [1, 2]).result()
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


show_keywords(
    SLURMRunner,
    (
        keyword_of(each)
        for each in dataclasses.fields(Options)
        if each.name not in inspect.signature(SLURMRunner.__init__).parameters
    ),
)
