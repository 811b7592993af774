"""What each worker gets of its node: the division among the ranks that share it (pure)."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mpidask import config, quantities
from mpidask.config import Options

__all__ = ["Facts", "Gpu", "Limit", "WorkerRequest", "WorkerSpec", "compact", "divide"]

#: Least memory of a worker where their number is ours to choose, in bytes.
_LEAST = 2**30

#: Fields of facts that hold limits.
_OF_LIMITS = ("cpu", "memory")

#: Of a node's memory, kept for each of scheduler and script that it hosts: this part, at most that many bytes.
_RESERVE_PART, _RESERVE_MOST = 0.05, 2 * 2**30


@dataclasses.dataclass(frozen=True)
class Limit:
    """An amount that every rank with the same scope shares."""

    scope: str
    amount: float
    source: str


@dataclasses.dataclass(frozen=True)
class Gpu:
    """A GPU that a rank may give to its workers.

    name:  what the visible-devices variable calls it
    card:  tells it from the node's others, whatever ranks call them; its name where that is not known
    model: such as NVIDIA H100 80GB HBM3, "" if it is not known
    """

    name: str
    card: str
    model: str = ""


@dataclasses.dataclass(frozen=True)
class Facts:
    """What one rank finds on its node.

    node:      identifies the node; ranks with the same one share its memory
    network:   identifies the network namespace; ranks with the same one reach each other by loopback
    cores:     numbers of the cores that this rank may run on (its affinity mask)
    node_cores: how many cores the node has
    cpu:       limits on CPU time, in cores (cgroup quotas, what the batch system gives the job)
    memory:    limits on memory, in bytes (the node's, cgroups', the batch system's)
    gpus:      those that workers may be given
    gpu_variable: what shows one to a process, "" where there is none
    gpu_visible: what that variable is to be for a process that may see all of `gpus`, None where it is not set
    gpu_trouble: what is wrong with its value, "" if nothing is
    visible:   the other variables that show devices to a process, as they are set here
    addresses: (interface, IPv4 address), the fastest kind first
    scratch:   where the rank's directory for spilling is made
    pid:       the rank's process
    job_ranks: how many ranks of the MPI job are on the node, also such as take no part; 0 if that is not known
    sharing:   what ranks of one node have in common whose workers one process may host; "" for none
    began:     when its process was started, and when MPI was up, in s since 1970; () where nobody is to know
    """

    host: str
    node: str
    network: str
    cores: tuple[int, ...]
    node_cores: int
    cpu: tuple[Limit, ...]
    memory: tuple[Limit, ...]
    gpus: tuple[Gpu, ...] = ()
    gpu_variable: str = ""
    gpu_visible: str | None = None
    gpu_trouble: str = ""
    visible: tuple[tuple[str, str], ...] = ()
    addresses: tuple[tuple[str, str], ...] = ()
    scratch: str = ""
    pid: int = 0
    job_ranks: int = 0
    sharing: str = ""
    began: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class WorkerSpec:
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
class WorkerRequest:
    """What the user says of the workers.

    nthreads: threads per worker, None to divide the cores; a worker with a GPU then has one
    memory:   bytes per worker, or (a float) the part of what the node has; None to divide what there is
    gpus:     whether workers get GPUs
    per_rank: workers on each rank; 1 means one per GPU where there are GPUs; None for as many as cores and memory
              suggest
    inside:   workers live in their rank's process, which can show one set of GPUs: one worker, one GPU per rank
    """

    nthreads: int | None = None
    memory: float | None = None
    gpus: bool = True
    per_rank: int | None = 1
    inside: bool = False

    @classmethod
    def of(cls, options: Options) -> WorkerRequest:
        """Return what options say of the workers."""
        return cls(
            nthreads=options.nthreads,
            memory=None if options.memory_limit is None else quantities.memory(options.memory_limit),
            gpus=options.gpus,
            per_rank=config.workers_per_rank(options),
            inside=config.inside(options),
        )


def compact(facts: Mapping[int, Facts]) -> dict[int, Facts]:
    """Return the same with equal parts made one object: it is sent, and held by each rank, in less space."""
    known: dict[tuple[str, Any], Any] = {}

    def one(name: str, value: Any) -> Any:
        if name in _OF_LIMITS:
            value = tuple(known.setdefault(("limit", limit), limit) for limit in value)
        return known.setdefault((name, value), value)

    names = [field.name for field in dataclasses.fields(Facts)]
    return {rank: Facts(**{name: one(name, getattr(mine, name)) for name in names}) for rank, mine in facts.items()}


def divide(
    facts: Sequence[Facts], hosting: Sequence[bool], serving: Sequence[bool], request: WorkerRequest = WorkerRequest()
) -> list[WorkerSpec]:
    """Return the workers of every rank.

    facts:    of each rank, in the order of ranks
    hosting:  whether that rank hosts workers
    serving:  whether it runs the scheduler or the script
    """
    nodes = _nodes(facts)
    counts = _counts(nodes, facts, hosting, serving, request)
    found: dict[int, list[WorkerSpec]] = {}
    for ranks in nodes:
        node = _Node(ranks, facts, counts, serving)
        given = _give_gpus(ranks, facts, counts, request)
        found |= {rank: _specs_of_rank(rank, facts[rank], node, given[rank], request) for rank in ranks}
    return [spec for rank in range(len(facts)) for spec in found[rank]]


def _nodes(facts: Sequence[Facts]) -> list[list[int]]:
    """Return the ranks of each node, in ascending order."""
    nodes: dict[str, list[int]] = defaultdict(list)
    for rank, fact in enumerate(facts):
        nodes[fact.node].append(rank)
    return list(nodes.values())


def _specs_of_rank(
    rank: int, mine: Facts, node: _Node, gpus: Sequence[str | None], request: WorkerRequest
) -> list[WorkerSpec]:
    """Return the workers of one rank.

    gpus: one for each of them
    """
    count, cores = node.counts[rank], node.cores_per_worker(rank)
    # Tasks that run at the same time on a GPU add up in its memory, which nothing limits.
    threads = request.nthreads if request.nthreads is not None else 1 if any(gpus) else cores
    share = _memory_wanted(request.memory, mine)
    share = share if share is not None else node.memory_per_worker(rank)
    return [
        WorkerSpec(
            rank,
            rank if count == 1 else f"{rank}-{index}",
            threads,
            share,
            max(1, cores // threads),
            gpu,
            mine.gpu_variable if gpu is not None else "",
        )
        for index, gpu in enumerate(gpus)
    ]


def _counts(
    nodes: Iterable[Sequence[int]],
    facts: Sequence[Facts],
    hosting: Sequence[bool],
    serving: Sequence[bool],
    request: WorkerRequest,
) -> list[int]:
    """Return the number of each rank's workers."""
    if request.per_rank not in (None, 1):
        return [(request.per_rank or 0) * hosts for hosts in hosting]
    counts = [int(hosts) for hosts in hosting]
    for ranks in nodes:
        if request.gpus and not request.inside:
            _count_gpus(ranks, facts, counts)
        if request.per_rank is None:
            node = _Node(ranks, facts, hosting, serving)
            for rank in ranks:
                if hosting[rank] and not (request.gpus and facts[rank].gpus):
                    counts[rank] = _fitting(rank, facts[rank], node, request)
    return counts


def _count_gpus(ranks: Sequence[int], facts: Sequence[Facts], counts: list[int]) -> None:
    """Have the ranks of a node together host one worker for each card: who sees it, and has the fewest, gets it."""
    seers: dict[str, list[int]] = defaultdict(list)
    for rank in ranks:
        if counts[rank]:
            for gpu in facts[rank].gpus:
                seers[gpu.card].append(rank)
    given: Counter[int] = Counter()
    for hosts in seers.values():
        given[min(hosts, key=lambda rank: (given[rank], len(facts[rank].gpus)))] += 1
    for rank in ranks:
        counts[rank] = max(counts[rank], given[rank])


def _give_gpus(
    ranks: Sequence[int], facts: Sequence[Facts], counts: Sequence[int], request: WorkerRequest
) -> dict[int, list[str | None]]:
    """Return the GPUs of each rank's workers on one node: each takes the first of those with the fewest workers.

    Ranks that see fewer choose first.
    """
    users: Counter[str] = Counter()
    given: dict[int, list[str | None]] = {}
    for rank in sorted(ranks, key=lambda rank: len(facts[rank].gpus)):
        gpus = facts[rank].gpus if request.gpus else ()
        given[rank] = [_take(gpus, users) for _ in range(counts[rank])]
    return given


def _take(gpus: Sequence[Gpu], users: Counter[str]) -> str | None:
    gpu = min(gpus, key=lambda each: users[each.card], default=None)
    if gpu is None:
        return None
    users[gpu.card] += 1
    return gpu.name


def _fitting(rank: int, mine: Facts, node: _Node, request: WorkerRequest) -> int:
    """Return how many workers a rank's cores and memory suggest."""
    least = _memory_wanted(request.memory, mine) or _LEAST
    most = node.memory_per_worker(rank) // least
    return max(1, min(most, _suggested(node.cores_per_worker(rank), request.nthreads)))


def _suggested(cores: int, nthreads: int | None) -> int:
    """Return how many workers to divide cores into: the rule of Dask's LocalCluster."""
    if nthreads is not None:
        return max(1, cores // nthreads)
    if cores <= 4:
        return cores
    return next(number for number in range(1, cores + 1) if cores % number == 0 and number * number >= cores)


def _memory_wanted(memory: float | None, mine: Facts) -> int | None:
    if isinstance(memory, float):
        return int(memory * min(limit.amount for limit in mine.memory))
    return memory


class _Node:
    """How many workers share what there is on one node; counted once for all its ranks.

    counts: workers of each rank of the run
    """

    def __init__(
        self, ranks: Sequence[int], facts: Sequence[Facts], counts: Sequence[int], serving: Sequence[bool]
    ) -> None:
        self.counts = counts
        self._facts, self._size = facts, len(ranks)
        self._cores = _core_shares(ranks, facts, counts)
        self._workers: Counter[str] = Counter()  # scope of a limit -> workers that share it
        self._serving: Counter[str] = Counter()  # the same for scheduler and script
        for rank in ranks:
            mine = facts[rank]
            for scope in {f"{kind} {limit.scope}" for kind in ("cpu", "memory") for limit in getattr(mine, kind)}:
                self._workers[scope] += counts[rank]
                self._serving[scope] += serving[rank]

    def cores_per_worker(self, rank: int) -> int:
        """Sum over the rank's cores of the part that is its own, shared with every worker that may run there."""
        if not self.counts[rank]:
            return 1
        mine = self._facts[rank]
        limits = [limit.amount / max(1, self._workers[f"cpu {limit.scope}"]) for limit in mine.cpu]
        return max(1, int(min([self._cores[mine.cores], *limits]) * self._part(mine) + 1e-9))

    def memory_per_worker(self, rank: int) -> int:
        """Return the bytes that the tightest limit leaves to a worker of this rank."""
        if not self.counts[rank]:
            return 0
        mine, shares = self._facts[rank], []
        for limit in mine.memory:
            scope = f"memory {limit.scope}"
            reserve = min(_RESERVE_PART * limit.amount, _RESERVE_MOST) * self._serving[scope]
            shares.append((limit.amount - reserve) / max(1, self._workers[scope]))
        return int(min(shares) * self._part(mine))

    def _part(self, mine: Facts) -> float:
        """Return which part of the node's cores and memory is ours: ranks that take no part keep theirs."""
        return self._size / max(self._size, mine.job_ranks)


def _core_shares(ranks: Sequence[int], facts: Sequence[Facts], counts: Sequence[int]) -> dict[tuple[int, ...], float]:
    """Return affinity mask -> cores for one worker that has it, on one node."""
    masks: Counter[tuple[int, ...]] = Counter()
    for rank in ranks:
        masks[facts[rank].cores] += counts[rank]
    if len(masks) == 1:
        return {cores: len(cores) / max(1, number) for cores, number in masks.items()}
    users: Counter[int] = Counter()
    for cores, number in masks.items():
        for core in cores:
            users[core] += number
    return {cores: sum(1 / users[core] for core in cores) for cores, number in masks.items() if number}
