"""Which ranks of a node may have their workers hosted by one process, the agent of one of them.

Dask is imported once per agent, and workers are forked from it. What a worker may use stays that of the rank that it
stands for: cores, GPUs and the rank's log are given to its process. What a process cannot be given (a cgroup,
namespaces, limits, variables that only some ranks have) has to be the same for all ranks that share an agent.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import resource
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mpidask.job_environment import text_of
from mpidask.launch.resources.division import Facts, WorkerSpec
from mpidask.launch.resources.hardware import cgroup_directories
from mpidask.launch.watchdog.launcher_environment import TOKEN, rank_identity

__all__ = ["agents", "described", "union"]

_ROOT = Path("/")
_NAMESPACES = ("user", "pid", "mnt", "net", "ipc", "uts")

#: Variables that tell a rank from the others of its node, and matter to nobody but the launcher.
_OF_ONE_RANK = re.compile(
    r"SLURM_(TASK_PID|GTIDS|CPU_BIND.*|LAUNCH_NODE_IPADDR|SRUN_COMM_.*)$|FLUX_TASK_(RANK|LOCAL_ID)$|PMIX?_|PALS_"
    r"|JSM_|ALPS_APP_PE$|MPIEXEC_|_$|SHLVL$"
)


def described(facts: Facts, environ: Mapping[str, str], root: Path = _ROOT) -> Facts:
    """Return a rank's facts with what another rank's agent has to have in common with it to host its workers."""
    parts = [*_process(), *_confinement(facts, root), *_variables(facts, environ)]
    digest = hashlib.sha256("\0".join(parts).encode(errors="surrogateescape"))  # variables need not be UTF-8
    return dataclasses.replace(facts, sharing=digest.hexdigest()[:16])


def _process() -> Iterator[str]:
    """Yield what a process is born with, and cannot change for its children."""
    yield from map(str, (os.getuid(), os.getgid(), os.getcwd(), os.getpriority(os.PRIO_PROCESS, 0)))
    mask = os.umask(0o077)
    os.umask(mask)
    yield str(mask)
    names = sorted(name for name in vars(resource) if name.startswith("RLIMIT_"))
    yield from (f"{name} {resource.getrlimit(getattr(resource, name))}" for name in names)
    for name in _NAMESPACES:
        try:
            yield os.readlink(f"/proc/self/ns/{name}")
        except OSError:  # without /proc nobody can tell: each for itself
            yield f"process {os.getpid()}"


def _confinement(facts: Facts, root: Path) -> Iterator[str]:
    """Yield what confines a rank: its cgroups.

    A batch system may make one for each task, and limit nothing in it: such may share. Which devices a cgroup allows
    cannot be read, so that where there are GPUs it has to be the same.
    """
    if facts.gpu_variable:
        yield text_of(root / "proc/self/cgroup")
        return
    scopes = {limit.scope for limit in (*facts.cpu, *facts.memory)}
    yield from sorted(scope for scope in scopes if not scope.startswith(("node", "process:")))
    for name in ("cpuset.cpus.effective", "cpuset.effective_cpus"):
        yield next((text for each in cgroup_directories("cpuset", root) if (text := text_of(each / name))), "")


def _variables(facts: Facts, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the environment: wrapper scripts set what only one rank is to have.

    The variable that shows GPUs is given to each worker, but cannot be taken from one.
    """
    identity = {*rank_identity(environ), facts.gpu_variable, TOKEN}
    names = sorted(name for name in environ if name not in identity and not _OF_ONE_RANK.match(name))
    yield from (f"{name}={environ[name]}" for name in names)
    yield f"{facts.gpu_variable} {facts.gpu_visible is None}"


def agents(facts: Sequence[Facts], workers: Sequence[WorkerSpec], first: int | None, *, apart: bool) -> list[int]:
    """Return for each rank the one that hosts its workers: the first of the node that may (pure).

    first:  a rank that goes before all others, because it hosts the scheduler; None for none
    apart:  each rank hosts its own
    """
    threads = {worker.rank: worker.blas_threads for worker in workers}  # set before libraries are imported
    found = list(range(len(facts)))
    hosts: dict[tuple[str, str, int], int] = {}
    for rank in sorted(threads, key=lambda rank: (rank != first, rank)):
        mine = facts[rank]
        if mine.sharing and not apart:
            found[rank] = hosts.setdefault((mine.node, mine.sharing, threads[rank]), rank)
    return found


def union(facts: Sequence[Facts], ranks: Sequence[int]) -> tuple[int, ...]:
    """Return the cores that any of these ranks may run on (pure)."""
    return tuple(sorted({core for rank in ranks for core in facts[rank].cores}))
