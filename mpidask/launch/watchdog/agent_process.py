"""The process of an agent: started before MPI comes up where one seems needed, given its work later.

Imports nothing but the standard library's smallest modules: it runs on a rank before MPI_Init.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from mpidask.launch.watchdog import early_start
from mpidask.launch.watchdog.launcher_environment import (
    AGENT,
    TOKEN,
    launcher_rank,
    launcher_size,
    local_rank,
    local_size,
)
from mpidask.launch.watchdog.script_process import client_rank, option_value, setting

__all__ = ["MODULES", "TRACKED", "AgentProcess", "begin_anew", "is_likely", "likely_blas_threads", "variables"]

_BLAS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "RAYON_NUM_THREADS",
    "POLARS_MAX_THREADS",
)
_QUIET_TRACKER = "ignore:resource_tracker:UserWarning"

#: What Dask's configuration has for processes of workers, unless the user has changed it.
_PRE_SPAWN = {"MALLOC_TRIM_THRESHOLD_": "65536"}

#: What an early agent may have been given that a later one would not have.
TRACKED = (*_BLAS, *_PRE_SPAWN)

#: Names the user's modules for processes that import them, comma-separated.
MODULES = "MPIDASK_PRELOAD_IMPORT"

_IMPORTS = "from mpidask.launch.servers.agent_main import main"
_RUNS = "main({{channel}}, early={early}, duty={duty})"

#: Options that have servers import in another way, be elsewhere, or have other variables.
_OTHERWISE = ("import-cache", "no-nanny", "scheduler-rank", "worker-class")
_ALL_HOST = ("inclusive-workers", "workers-per-rank")  # the first rank of a node has workers, whoever it is ...
_NOT_ALL = ("exclusive-workers",)  # ... unless this is asked for


def is_likely(environ: Mapping[str, str], words: Sequence[str], *, has_script: bool) -> bool:
    """Return whether this rank will need an agent, as far as that is known before the ranks have met (pure).

    That is the scheduler's rank, and the first one of each node that hosts workers. Where ranks are more than cores,
    Open MPI does not number those of a node by rank.

    words: of the command line
    """
    if _has(environ, words, _OTHERWISE):
        return False
    rank, place = launcher_rank(environ), local_rank(environ)
    client = client_rank(environ, words) if has_script else None
    first, all_host = _first(client), _all_host(environ, words)
    if rank == 0 or (place == 0 and (rank != client or all_host)):
        return True
    return rank == first < launcher_size(environ) and bool(place) and not all_host


def likely_blas_threads(environ: Mapping[str, str], words: Sequence[str], cores: int, *, has_script: bool) -> int:
    """Return how many threads numerical libraries will have in this rank's workers, as far as that is known (pure).

    Dask imports numpy, which looks up how many it may have.

    words: of the command line
    cores: on which this rank may run
    """
    threads, per_rank = (option_value(environ, words, option) for option in ("nthreads", "workers-per-rank"))
    alone = launcher_rank(environ) == 0 and not _all_host(environ, words)
    if not threads.isdigit() or per_rank == "auto" or (alone and launcher_size(environ) > 2):  # a scheduler alone
        return 1
    others = _first(client_rank(environ, words) if has_script else None)  # ranks of the first node without workers
    beside = others if launcher_rank(environ) == others and local_rank(environ) else 0
    workers = ((local_size(environ) or 1) - beside) * (int(per_rank) if per_rank.isdigit() else 1)
    return max(1, cores // max(1, workers) // max(1, int(threads)))


def _all_host(environ: Mapping[str, str], words: Sequence[str]) -> bool:
    """Whether the ranks of the scheduler and of the script host workers, too."""
    return _has(environ, words, _ALL_HOST) and not _has(environ, words, _NOT_ALL)


def _first(client: int | None) -> int:
    """Return the first rank that is neither the scheduler's nor the script's."""
    return 2 if client == 1 else 1


def _has(environ: Mapping[str, str], words: Sequence[str], options: Sequence[str]) -> bool:
    """Return whether one of these options is on the command line, or in the environment."""
    typed = tuple(f"--{option}" for option in options)
    return any(word.startswith(typed) for word in words) or any(setting(option) in environ for option in options)


class AgentProcess(early_start.OwnProcess):
    """The process, as its rank has it."""

    @classmethod
    def start_early(
        cls, environ: Mapping[str, str], words: Sequence[str], *, has_script: bool = True
    ) -> AgentProcess | None:
        """Start it before the ranks have met if this one seems to need it; else return None. It imports Dask at once.

        environ: of the rank, before MPI came up
        words:   of the command line
        """
        if not is_likely(environ, words, has_script=has_script):
            return None
        from mpidask import job_environment

        users = job_environment.without_what_the_batch_system_has_set(environ)
        threads = likely_blas_threads(environ, words, len(os.sched_getaffinity(0)), has_script=has_script)
        return cls._start({**environ, **variables(threads, (), _PRE_SPAWN, users)}, early=True)

    @classmethod
    def start(cls, environ: Mapping[str, str]) -> AgentProcess:
        """Start it when all is known.

        environ: its environment; what makes a process a rank is taken out
        """
        return cls._start(environ, early=False)

    @classmethod
    def _start(cls, environ: Mapping[str, str], *, early: bool) -> AgentProcess:
        marked = {**environ, AGENT: environ.get(TOKEN, "")}
        return cls(*early_start.start(_IMPORTS, _RUNS.format(early=early, duty=None), marked, stdin=os.devnull))


def begin_anew(channel: int, duty: int) -> NoReturn:
    """In the agent: begin anew, as one that is not early, in the environment that it has now.

    channel: descriptor on which it talks with its rank
    duty:    that of a file with what its rank has said
    """
    for descriptor in (channel, duty):
        os.set_inheritable(descriptor, True)
    early_start.begin_anew(_IMPORTS, _RUNS.format(early=False, duty=duty), channel)


def variables(
    blas_threads: int, modules: Sequence[str], configured: Mapping[str, Any], environ: Mapping[str, str]
) -> dict[str, str]:
    """Return the environment variables that are to be set where workers are started (pure).

    blas_threads: for numerical libraries that have threads of their own
    modules:      the user's, to be imported there
    configured:   name -> value: distributed.nanny.pre-spawn-environ of Dask's configuration
    environ:      what the user has set, and stays
    """
    wanted = dict.fromkeys(_BLAS, str(blas_threads))
    wanted |= {name: str(value) for name, value in configured.items() if value is not None and name not in wanted}
    # Of a worker that was killed Python's resource tracker removes the semaphores, and says so at length.
    warnings = ",".join(filter(None, (environ.get("PYTHONWARNINGS"), _QUIET_TRACKER)))
    new = {name: value for name, value in wanted.items() if name not in environ}
    return new | {"PYTHONWARNINGS": warnings, MODULES: ",".join(modules)}
