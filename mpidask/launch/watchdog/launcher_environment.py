"""What launchers say of a rank in its environment, and what its children must not see (pure).

Imported before MPI is up: nothing but the standard library's smallest modules.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping

__all__ = [
    "AGENT",
    "CONTAINER",
    "RANK_VARIABLES",
    "TOKEN",
    "counts",
    "job_id",
    "launcher_name",
    "launcher_rank",
    "launcher_size",
    "local_rank",
    "local_size",
    "node_names",
    "rank_identity",
]

#: Marks every process that a rank starts, so that none of them outlives it.
TOKEN = "MPIDASK_RANK_TOKEN"  # noqa: S105 - a process mark, not a secret

#: Has the same value in a rank's agent and in what that starts, and in no other process of the rank.
AGENT = "MPIDASK_AGENT_TOKEN"

#: The process on the node that stands for a rank in a container whose runtime starts it from elsewhere.
CONTAINER = "MPIDASK_CONTAINER_PROCESS"

#: (launcher, rank, size, ranks on this node, place among them), asked in this order: the innermost launcher first.
#: Slurm sets SLURM_STEP_NUM_TASKS for `srun` alone, SLURM_NTASKS for the batch script as well.
_LAUNCHERS = (
    (
        "Open MPI's mpirun",
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_LOCAL_SIZE",
        "OMPI_COMM_WORLD_LOCAL_RANK",
    ),
    ("MPICH's mpirun (Hydra)", "PMI_RANK", "PMI_SIZE", "MPI_LOCALNRANKS", "MPI_LOCALRANKID"),
    ("PALS (mpiexec)", "PALS_RANKID", "PALS_SIZE", "PALS_LOCAL_SIZE", "PALS_LOCAL_RANKID"),
    ("srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_TASKS_PER_NODE", "SLURM_LOCALID"),
    ("a launcher with PMI", "PMI_RANK", "PMI_SIZE", "", ""),
)

RANK_VARIABLES = tuple(launcher[1] for launcher in _LAUNCHERS)

#: A process that inherits these believes that it is the rank: MPI_Init in it aborts (MPICH) or hangs
#: (Open MPI). OMPI_MCA_* parameters that a user sets stay.
_IDENTITY = re.compile(
    r"(PMI|PMI2|PMIX|PALS|HYDI|HYDRA|PRTE)_|MPI_LOCAL(NRANKS|RANKID)$|MPIR_CVAR_CH4_.*_ADDR"
    r"|OMPI_(COMM|UNIVERSE|WORLD|NUM_APP|FIRST_RANKS|APP_CTX|FILE_LOCATION|COMMAND|ARGV"
    r"|TOOL_NAME|VERSION|LIBDIR)"
    r"|OMPI_MCA_(num_procs|initial_wdir|cpu_type|orte_|ess_|pmix_|PREFIXES)"
    r"|MPIDASK_CONTAINER_PROCESS$|OPAL_USER_PARAMS|SLURM_(PROCID|LOCALID|STEP_ID|STEPID|STEP_NUM_TASKS|PMI)"
)


#: How batch systems call the job in its environment; the innermost first.
_JOBS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "FLUX_JOB_ID", "OAR_JOB_ID", "JOB_ID", "_CONDOR_JOB_ID")


def job_id(environ: Mapping[str, str]) -> str | None:
    """Return the batch system's id of the job that this process belongs to, None outside of one."""
    return next((environ[name] for name in _JOBS if environ.get(name)), None)


def rank_identity(names: Iterable[str]) -> list[str]:
    """Return those variables that make a process a rank, to be removed for its children."""
    return sorted(name for name in names if _IDENTITY.match(name))


def _launcher(environ: Mapping[str, str]) -> tuple[str, str, str, str, str] | None:
    for launcher in _LAUNCHERS:
        # srun sets PMI_RANK and PMI_SIZE too (--mpi=pmi2), but not Hydra's number of ranks on the node.
        if all(name in environ for name in launcher[1:4] if name):
            return launcher
    return None


def launcher_name(environ: Mapping[str, str]) -> str | None:
    """Return the launcher that started this process, None if none is known."""
    launcher = _launcher(environ)
    return launcher[0] if launcher else None


def launcher_rank(environ: Mapping[str, str]) -> int:
    """Return the rank that the launcher gave this process; 0 without a launcher."""
    launcher = _launcher(environ)
    return int(environ[launcher[1]]) if launcher else 0


def launcher_size(environ: Mapping[str, str]) -> int:
    """Return how many processes the launcher says it started; 1 without a launcher."""
    launcher = _launcher(environ)
    return int(environ[launcher[2]]) if launcher else 1


def local_size(environ: Mapping[str, str]) -> int | None:
    """Return how many ranks the launcher put on this node, None if it does not say."""
    launcher = _launcher(environ)
    text = environ.get(launcher[3], "") if launcher and launcher[3] else ""
    if text.isdigit():
        return int(text)
    return _slurm_local_size(text, environ.get("SLURM_NODEID", ""))


def local_rank(environ: Mapping[str, str]) -> int | None:
    """Return this rank's place among the ranks of its node, from 0; None if the launcher does not say."""
    launcher = _launcher(environ)
    text = environ.get(launcher[4], "") if launcher and launcher[4] else ""
    return int(text) if text.isdigit() else None


def _slurm_local_size(text: str, node: str) -> int | None:
    numbers = counts(text)
    return numbers[int(node)] if node.isdigit() and int(node) < len(numbers) else None


def counts(text: str) -> list[int]:
    """Return the numbers of Slurm's ``2(x3),1``: two on each of three nodes, then one on the fourth; none of others."""
    numbers: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part.strip())
        if match is None:
            return []
        numbers += [int(match[1])] * int(match[2] or 1)
    return numbers


@functools.lru_cache(maxsize=1)
def node_names(text: str) -> tuple[str, ...]:
    """Return the names of Slurm's ``n[1-2,08]-ib,login``, in its order: n1-ib, n2-ib, n08-ib, login."""
    return tuple(name for part in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", text) for name in _expanded(part))


def _expanded(text: str) -> list[str]:
    before, bracket, rest = text.partition("[")
    numbers, _, after = rest.partition("]")
    return [before + number + end for number in _numbers(numbers) for end in _expanded(after)] if bracket else [text]


def _numbers(text: str) -> Iterator[str]:
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if dash and first.isdigit() and last.isdigit():
            yield from (str(number).zfill(len(first)) for number in range(int(first), int(last) + 1))
        else:
            yield part
