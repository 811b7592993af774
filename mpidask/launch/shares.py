"""What each worker gets of its node: the division among the ranks that share it (pure)."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

__all__ = ["Facts", "Limit", "Wish", "WorkerPlan", "plan_workers"]

#: Least memory of a worker where their number is ours to choose, in bytes.
_LEAST = 2**30

#: Of a node's memory, kept for each of scheduler and script that it hosts: this part, at most that many bytes.
_RESERVE_PART, _RESERVE_MOST = 0.05, 2 * 2**30


@dataclasses.dataclass(frozen=True)
class Limit:
    """An amount that every rank with the same scope shares."""

    scope: str
    amount: float
    source: str


@dataclasses.dataclass(frozen=True)
class Facts:
    """What one rank finds on its node.

    node:      identifies the node; ranks with the same one share its memory
    network:   identifies the network namespace; ranks with the same one reach each other by loopback
    cores:     numbers of the cores that this rank may run on (its affinity mask)
    node_cores: how many cores the node has
    cpu:       limits on CPU time, in cores (cgroup quotas)
    memory:    limits on memory, in bytes (the node's, cgroups', the batch system's)
    gpus:      what the visible-devices variable may name, in order
    gpu_variable: that variable, "" where there is no GPU
    addresses: (interface, IPv4 address), the fastest kind first
    scratch:   where the rank's directory for spilling is made
    pid:       the rank's process
    job_ranks: how many ranks of the MPI job are on the node, also such as take no part; 0 if that is not known
    """

    host: str
    node: str
    network: str
    cores: tuple[int, ...]
    node_cores: int
    cpu: tuple[Limit, ...]
    memory: tuple[Limit, ...]
    gpus: tuple[str, ...] = ()
    gpu_variable: str = ""
    addresses: tuple[tuple[str, str], ...] = ()
    scratch: str = ""
    pid: int = 0
    job_ranks: int = 0


@dataclasses.dataclass(frozen=True)
class WorkerPlan:
    """What one worker gets.

    name:    its name in Dask: the rank's number, with a suffix where the rank hosts several
    memory:  bytes, 0 for no limit
    blas_threads: for OMP_NUM_THREADS and kin, so that threads times these are the worker's cores
    """

    rank: int
    name: int | str
    nthreads: int
    memory: int
    blas_threads: int = 1
    gpu: str | None = None
    gpu_variable: str = ""


@dataclasses.dataclass(frozen=True)
class Wish:
    """What the user says of the workers.

    nthreads: threads per worker, None to divide the cores
    memory:   bytes per worker, or (a float) the part of what the node has; None to divide what there is
    gpus:     whether workers get GPUs
    per_rank: workers on each rank; 1 means one per GPU where there are GPUs; None for as many as cores and memory
              suggest
    """

    nthreads: int | None = None
    memory: float | None = None
    gpus: bool = True
    per_rank: int | None = 1


def plan_workers(
    facts: Sequence[Facts], hosting: Sequence[bool], serving: Sequence[bool], wish: Wish = Wish()
) -> list[WorkerPlan]:
    """Return the workers of every rank.

    facts:    of each rank, in the order of ranks
    hosting:  whether that rank hosts workers
    serving:  whether it runs the scheduler or the script
    """
    counts = _counts(facts, hosting, serving, wish)
    plans: list[WorkerPlan] = []
    for rank, count in enumerate(counts):
        cores = _cores_per_worker(rank, facts, counts)
        threads = wish.nthreads if wish.nthreads is not None else cores
        share = _memory_wanted(wish.memory, facts[rank])
        share = share if share is not None else _memory_per_worker(rank, facts, counts, serving)
        for index in range(count):
            gpu = _gpu_of(rank, index, facts, counts) if wish.gpus else None
            plans.append(
                WorkerPlan(
                    rank,
                    rank if count == 1 else f"{rank}-{index}",
                    threads,
                    share,
                    max(1, cores // threads),
                    gpu,
                    facts[rank].gpu_variable if gpu is not None else "",
                )
            )
    return plans


def _counts(facts: Sequence[Facts], hosting: Sequence[bool], serving: Sequence[bool], wish: Wish) -> list[int]:
    """Return the number of each rank's workers."""
    if wish.per_rank not in (None, 1):
        return [(wish.per_rank or 0) * hosts for hosts in hosting]
    counts = [_workers_on(rank, facts, hosting, gpus=wish.gpus) for rank in range(len(facts))]
    if wish.per_rank == 1:
        return counts
    free = [hosts and not (wish.gpus and facts[rank].gpus) for rank, hosts in enumerate(hosting)]
    return [_fitting(rank, facts, hosting, serving, wish) if free[rank] else counts[rank] for rank in range(len(facts))]


def _fitting(rank: int, facts: Sequence[Facts], hosting: Sequence[bool], serving: Sequence[bool], wish: Wish) -> int:
    """Return how many workers a rank's cores and memory suggest."""
    least = _memory_wanted(wish.memory, facts[rank]) or _LEAST
    most = _memory_per_worker(rank, facts, hosting, serving) // least
    return max(1, min(most, _suggested(_cores_per_worker(rank, facts, hosting), wish.nthreads)))


def _workers_on(rank: int, facts: Sequence[Facts], hosting: Sequence[bool], *, gpus: bool) -> int:
    """One worker, or as many as make one per GPU of the node."""
    if not hosting[rank]:
        return 0
    mine = facts[rank]
    if not gpus or not mine.gpus:
        return 1
    hosts = [other for other in _neighbours(rank, facts) if hosting[other] and facts[other].gpus == mine.gpus]
    each, rest = divmod(len(mine.gpus), len(hosts))
    return max(1, each + (hosts.index(rank) < rest))


def _suggested(cores: int, nthreads: int | None) -> int:
    """Return how many workers to divide cores into: the rule of Dask's LocalCluster."""
    if nthreads is not None:
        return max(1, cores // nthreads)
    if cores <= 4:
        return cores
    return next(number for number in range(1, cores + 1) if cores % number == 0 and number * number >= cores)


def _neighbours(rank: int, facts: Sequence[Facts]) -> list[int]:
    return [other for other, theirs in enumerate(facts) if theirs.node == facts[rank].node]


def _part(rank: int, facts: Sequence[Facts]) -> float:
    """Return which part of the node's cores and memory is ours: ranks that take no part keep theirs."""
    ours = len(_neighbours(rank, facts))
    return ours / max(ours, facts[rank].job_ranks)


def _cores_per_worker(rank: int, facts: Sequence[Facts], counts: Sequence[int]) -> int:
    """Sum over the rank's cores of the part that is its own, shared with every worker that may run there."""
    if not counts[rank]:
        return 1
    users: Counter[int] = Counter()
    for other in _neighbours(rank, facts):
        for core in facts[other].cores:
            users[core] += counts[other]
    share = sum(1 / users[core] for core in facts[rank].cores)
    share = min([share, *_limit_shares(rank, facts, counts, "cpu").values()])
    return max(1, int(share * _part(rank, facts) + 1e-9))


def _memory_wanted(memory: float | None, mine: Facts) -> int | None:
    if isinstance(memory, float):
        return int(memory * min(limit.amount for limit in mine.memory))
    return memory


def _memory_per_worker(rank: int, facts: Sequence[Facts], counts: Sequence[int], serving: Sequence[bool]) -> int:
    if not counts[rank]:
        return 0
    shares = []
    for limit in facts[rank].memory:
        sharers = [other for other in _neighbours(rank, facts) if _has_scope(facts[other].memory, limit.scope)]
        reserve = min(_RESERVE_PART * limit.amount, _RESERVE_MOST) * sum(serving[other] for other in sharers)
        shares.append((limit.amount - reserve) / max(1, sum(counts[other] for other in sharers)))
    return int(min(shares) * _part(rank, facts))


def _limit_shares(rank: int, facts: Sequence[Facts], counts: Sequence[int], kind: str) -> Mapping[str, float]:
    shares = {}
    for limit in getattr(facts[rank], kind):
        sharers = [other for other in _neighbours(rank, facts) if _has_scope(getattr(facts[other], kind), limit.scope)]
        shares[limit.scope] = limit.amount / max(1, sum(counts[other] for other in sharers))
    return shares


def _has_scope(limits: Sequence[Limit], scope: str) -> bool:
    return any(limit.scope == scope for limit in limits)


def _gpu_of(rank: int, index: int, facts: Sequence[Facts], counts: Sequence[int]) -> str | None:
    """Return the GPU of a rank's worker: the node's workers count through the devices, then begin again."""
    mine = facts[rank]
    if not mine.gpus:
        return None
    before = sum(counts[other] for other in _neighbours(rank, facts) if other < rank and facts[other].gpus == mine.gpus)
    return mine.gpus[(before + index) % len(mine.gpus)]
