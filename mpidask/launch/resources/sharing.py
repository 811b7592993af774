"""Which ranks of a node may have their workers hosted by one process, the agent of one of them.

Dask is imported once per agent, and workers are forked from it. What a worker may use stays that of the rank that it
stands for: cores, GPUs and the rank's log are given to its process. What a process cannot be given (a cgroup,
namespaces, limits, variables that only some ranks have) has to be the same for all ranks that share an agent.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import resource
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mpidask.job_environment import text_of
from mpidask.launch.resources.division import Facts, WorkerSpec
from mpidask.launch.resources.gpus import VISIBLE_DEVICES
from mpidask.launch.resources.hardware import cgroup_directories
from mpidask.launch.watchdog import TIMELINE
from mpidask.launch.watchdog.launcher_environment import TOKEN, rank_identity

__all__ = ["agents", "described", "union"]

_ROOT = Path("/")
_DEVICES = ("nvidia[0-9]*", "dri/renderD*", "kfd")
_NAMESPACES = ("user", "pid", "mnt", "net", "ipc", "uts")

#: Variables that tell a rank from the others of its node, and matter to nobody but the launcher.
_OF_ONE_RANK = re.compile(
    r"SLURM_(TASK_PID|GTIDS|CPU_BIND.*|LAUNCH_NODE_IPADDR|SRUN_COMM_.*)$|FLUX_TASK_(RANK|LOCAL_ID)$|PMIX?_|PALS_"
    r"|JSM_|ALPS_APP_PE$|MPIEXEC_|MPIRUN_RANK$|MVP?2?_COMM_WORLD_|I_MPI_PIN_(INFO|MAPPING)$|XALT_RUN_UUID$|_$|SHLVL$"
)


def described(facts: Facts, environ: Mapping[str, str], root: Path = _ROOT) -> Facts:
    """Return a rank's facts with what another rank's agent has to have in common with it to host its workers."""
    parts = [*_process(), *_confinement(facts, root), *_variables(facts, environ)]
    text = "\0".join(parts).encode(errors="surrogateescape")  # variables need not be UTF-8
    # Not hashlib: every rank imports this, and that brings OpenSSL along.
    return dataclasses.replace(facts, sharing=f"{zlib.crc32(text):08x}{zlib.adler32(text):08x}")


def _process() -> Iterator[str]:
    """Yield what a process is born with, and cannot change for its children."""
    yield from map(str, (os.getuid(), os.getgid(), os.getgroups(), os.getpriority(os.PRIO_PROCESS, 0)))
    yield from map(str, (sys.executable, sys.prefix, sys.path[1:], os.sched_getscheduler(0)))
    mask = os.umask(0o077)
    os.umask(mask)
    yield str(mask)
    names = sorted(name for name in vars(resource) if name.startswith("RLIMIT_"))
    yield from (f"{name} {resource.getrlimit(getattr(resource, name))}" for name in names)
    for path in ("/proc/self/cwd", *(f"/proc/self/ns/{name}" for name in _NAMESPACES)):
        try:
            yield os.readlink(path)
        except OSError:  # without /proc nobody can tell: each for itself
            yield f"process {os.getpid()}"
    yield from _memory()


def _memory() -> Iterator[str]:
    """Yield on which memory a process may be, by its cpuset and by its policy, and how readily it is killed."""
    yield next((line for line in text_of(Path("/proc/self/status")).splitlines() if "Mems_allowed_list" in line), "")
    yield text_of(Path("/proc/self/oom_score_adj"))
    # https://man7.org/linux/man-pages/man5/numa_maps.5.html: address, policy. Only numactl and kin change it.
    with contextlib.suppress(OSError, IndexError), open("/proc/self/numa_maps", encoding="utf-8") as file:
        yield file.readline().split()[1]


def _confinement(facts: Facts, root: Path) -> Iterator[str]:
    """Yield what confines a rank: its cgroups.

    A batch system may make one for each task, and limit nothing in it: such may share. Which devices a cgroup allows
    is seen at the devices' files; where there are none yet, the whole cgroup has to be the same.
    """
    devices = [path for pattern in _DEVICES for path in sorted((root / "dev").glob(pattern))]
    yield from (path.name for path in devices if os.access(path, os.R_OK | os.W_OK))
    if facts.gpus and not devices:
        yield text_of(root / "proc/self/cgroup")
    scopes = {limit.scope for limit in (*facts.cpu, *facts.memory)}
    yield from sorted(scope for scope in scopes if not scope.startswith(("node", "process:")))
    for name in ("cpuset.cpus.effective", "cpuset.effective_cpus"):
        yield next((text for each in cgroup_directories("cpuset", root) if (text := text_of(each / name))), "")


def _variables(facts: Facts, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the environment: wrapper scripts set what only one rank is to have.

    Variables that show devices are given to each worker, but cannot be taken from one.
    """
    identity = {*rank_identity(environ), *VISIBLE_DEVICES, TOKEN, TIMELINE}
    names = sorted(name for name in environ if name not in identity and not _OF_ONE_RANK.match(name))
    yield from (f"{name}={environ[name]}" for name in names)
    yield f"{facts.gpu_variable} {facts.gpu_visible is None}"
    yield from (name for name in VISIBLE_DEVICES if name in environ and name != facts.gpu_variable)


def agents(
    facts: Sequence[Facts], workers: Sequence[WorkerSpec], *, first: int | None, last: int | None, apart: bool
) -> list[int]:
    """Return for each rank the one that hosts its workers: the first of the node that may (pure).

    first:  a rank that goes before all others, because it hosts the scheduler; None for none
    last:   one that goes behind them, because it has the script; None for none
    apart:  each rank hosts its own
    """
    threads = {worker.rank: worker.blas_threads for worker in workers}  # set before libraries are imported
    found = list(range(len(facts)))
    hosts: dict[tuple[str, str, int], int] = {}
    for rank in sorted(threads, key=lambda rank: (rank != first, rank == last, rank)):
        mine = facts[rank]
        if mine.sharing and not apart:
            found[rank] = hosts.setdefault((mine.node, mine.sharing, threads[rank]), rank)
    return found


def union(facts: Sequence[Facts], ranks: Sequence[int]) -> tuple[int, ...]:
    """Return the cores that any of these ranks may run on (pure)."""
    return tuple(sorted({core for rank in ranks for core in facts[rank].cores}))
