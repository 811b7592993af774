"""What a run says of itself: the banner, the progress of its start, the closing line (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from mpidask.errors import warning_text
from mpidask.launch.resources.division import Facts, Gpu, Limit, WorkerSpec
from mpidask.launch.resources.roles import Role

__all__ = ["banner", "closing", "doubts", "encryption", "gpu_warnings", "missing_ranks", "progress"]


def amount(size: float) -> str:
    """Return a number of bytes as people read it."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def span(numbers: Sequence[int]) -> str:
    """Return ranks such as 2-5, 7."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def banner(
    version: str,
    roles: Sequence[Role],
    facts: Sequence[Facts],
    workers: Sequence[WorkerSpec],
    about: Sequence[tuple[str, str]],
    agents: Sequence[int] | None = (),
) -> str:
    """Return the banner.

    about:  further (label, text) lines: scheduler, dashboard, scratch, ...
    agents: ranks with the agents that workers are forked from; None where workers live in their ranks' processes
    """
    hosts = list(dict.fromkeys(fact.host for fact in facts))
    nodes = len({fact.node for fact in facts})
    lines = [
        ("version", f"{version}, {_count(len(roles), 'rank')} on {_count(nodes, 'node')} ({_few(hosts)})"),
        ("roles", _roles(roles)),
        ("workers", _workers(workers) + _forked(agents)),
        ("cores", _cores(facts, workers)),
        ("memory", _memory(facts, workers)),
        *(("gpus", text) for text in _gpus(facts, workers, inside=agents is None)),
        *about,
    ]
    return "".join(f"mpidask: {label:<12} {text}\n" for label, text in lines)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _few(names: Sequence[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _roles(roles: Sequence[Role]) -> str:
    texts = []
    for role, name in ((Role.SCHEDULER, "scheduler"), (Role.CLIENT, "script"), (Role.WORKER, "workers")):
        ranks = [rank for rank, its in enumerate(roles) if role in its]
        texts += [f"{name} on rank {span(ranks)}"] if ranks else []
    return ", ".join(texts)


def _workers(workers: Sequence[WorkerSpec]) -> str:
    kinds = {(worker.nthreads, worker.memory) for worker in workers}
    texts = []
    for threads, memory in sorted(kinds, reverse=True)[:3]:
        number = sum((worker.nthreads, worker.memory) == (threads, memory) for worker in workers)
        limit = amount(memory) if memory else "no memory limit"
        texts.append(f"{number} x {_count(threads, 'thread')}, {limit}")
    return "; ".join(texts) + (f"; {len(kinds) - 3} more kinds" if len(kinds) > 3 else "")


def _forked(agents: Sequence[int] | None) -> str:
    if not agents:
        return ""
    return f", forked from {_count(len(agents), 'agent')}" + (f" (rank {agents[0]})" if len(agents) == 1 else "")


def _cores(facts: Sequence[Facts], workers: Sequence[WorkerSpec]) -> str:
    have = sum({fact.node: fact.node_cores for fact in facts}.values())
    hosts: dict[str, list[Facts]] = {}
    for rank in dict.fromkeys(worker.rank for worker in workers):
        hosts.setdefault(facts[rank].node, []).append(facts[rank])
    bound = [len({core for fact in its for core in fact.cores}) for its in hosts.values()]
    limits = [_shared_limit(its) for its in hosts.values()]
    tight = [each for each, cores in zip(limits, bound, strict=True) if each is not None and each.amount < cores]
    pairs = zip(bound, limits, strict=True)
    used = sum(cores if limit is None else min(cores, limit.amount) for cores, limit in pairs)
    text = f"{used:g} of {have} usable by workers"
    if tight:
        text += f", limited by {tight[0].source} to {tight[0].amount:g}" + (" on each node" if len(hosts) > 1 else "")
    text += f", {_count(sum(worker.nthreads for worker in workers), 'thread')} in all"
    if 2 * sum(bound) < have and not tight:
        text += " (the launcher binds ranks: mpirun --bind-to none, or srun -c, gives them more)"
    return text


def _shared_limit(its: Sequence[Facts]) -> Limit | None:
    """Return the tightest limit on CPU time that all ranks of a node have in common."""
    common = set.intersection(*(set(fact.cpu) for fact in its))
    return min(common, key=lambda limit: limit.amount, default=None)


def _memory(facts: Sequence[Facts], workers: Sequence[WorkerSpec]) -> str:
    nodes = {fact.node: next(limit.amount for limit in fact.memory) for fact in facts}
    tightest = min(facts[0].memory, key=lambda limit: limit.amount)
    limited = "" if tightest.scope == "node" else f", limited by {tightest.source} to {amount(tightest.amount)}"
    given = sum(worker.memory for worker in workers)
    return f"{amount(given)} for workers of {amount(sum(nodes.values()))}{limited}"


def _gpus(facts: Sequence[Facts], workers: Sequence[WorkerSpec], *, inside: bool) -> Iterator[str]:
    """Yield how GPUs are divided, and which are left over; nothing where workers get none."""
    given = [worker for worker in workers if worker.gpu]
    if not given:
        return
    used = [(facts[worker.rank].node, _gpu(facts[worker.rank], worker.gpu)) for worker in given]
    cards = {(node, gpu.card) for node, gpu in used}
    models = ", ".join(sorted({gpu.model for _, gpu in used if gpu.model}))
    about = f" ({models})" if models else ""
    each = " each" if len(given) > 1 else ""
    how = f"share {_count(len(cards), 'GPU')}" if len(given) > len(cards) else f"with a GPU{each}"
    threads = "" if any(worker.nthreads > 1 for worker in given) else f", one thread{each}"
    without = len(workers) - len(given)
    rest = f"; {_count(without, 'worker')} without" if without else ""
    yield f"{_count(len(given), 'worker')} {how}{about}{threads}, by {given[0].gpu_variable}{rest}"
    idle = {(facts[each.rank].node, gpu.card) for each in workers for gpu in facts[each.rank].gpus} - cards
    if idle:
        yield f"{_count(len(idle), 'GPU')} idle: {_WHY_INSIDE if inside else _WHY}"


_MANY = 8  # threads per core above which nobody means them

_WHY = "there are fewer workers than GPUs (--workers-per-rank)"
_WHY_INSIDE = (
    "without nannies a rank has one worker; start more ranks, or leave --no-nanny out (initialize, execute: "
    "worker_class='distributed.Nanny')"
)


def _gpu(facts: Facts, name: str | None) -> Gpu:
    """Return a rank's GPU of that name."""
    return next(gpu for gpu in facts.gpus if gpu.name == name)


def gpu_warnings(facts: Sequence[Facts], roles: Sequence[Role]) -> str:
    """Return the lines on variables that name GPUs which are not there, on ranks that host workers."""
    ranks: dict[tuple[str, str], list[int]] = {}
    for rank, (fact, role) in enumerate(zip(facts, roles, strict=True)):
        if fact.gpu_trouble and Role.WORKER in role:
            ranks.setdefault((fact.host, fact.gpu_trouble), []).append(rank)
    return "".join(
        warning_text(
            f"on {host} ({_ranks(its)}) {trouble}; workers get what stands before it: "
            f"{', '.join(gpu.name for gpu in facts[its[0]].gpus) or 'no GPU'}",
            "name GPUs that are there, by number or UUID (nvidia-smi -L lists them), or unset it",
            key="gpus",
        )
        for (host, trouble), its in ranks.items()
    )


def _ranks(numbers: Sequence[int]) -> str:
    return f"rank{'' if len(numbers) == 1 else 's'} {span(numbers)}"


def encryption(address: str, *, made: bool) -> str:
    """Return who can connect to a scheduler.

    made: whether keys were made for the run
    """
    if not address.startswith(("tls://", "wss://")):
        return "not encrypted, --no-tls: whoever reaches a port can run programs as you"
    return f"encrypted, with {'keys of this run' if made else 'the keys of distributed.comm.tls in your configuration'}"


def missing_ranks(ranks: Sequence[int], hosts: Mapping[int, str]) -> str:
    """Return who is missing, such as ``rank 3 on n017``.

    hosts: rank -> host name, as far as they are known
    """
    return _few([f"rank {rank}" + (f" on {hosts[rank]}" if rank in hosts else "") for rank in ranks])


def progress(number: int, wanted: int, missing: str) -> str:
    """Return the line shown while workers start."""
    return f"{number}/{wanted} workers, missing: {missing}"


def waiting(missing: Sequence[int], hosts: Mapping[int, str]) -> str:
    """Return the line shown while ranks meet (pure); parameters as of `missing_ranks`."""
    return f"waiting for {missing_ranks(missing, hosts)}"


def closing(status: int | None, seconds: float, *, script: bool = True) -> str:
    """Return the last line of a run.

    status: the script's exit status, None if it is not known
    script: whether there was one
    """
    what = "the script ended" if script else "the cluster ended"
    how = "" if status is None else f" with status {status}"
    return f"mpidask: {what}{how} after {seconds:.1f} s\n"


def doubts(facts: Sequence[Facts], workers: Sequence[WorkerSpec]) -> str:
    """Return warnings of what workers were given and their nodes have not; "" for none (pure)."""
    text = ""
    nodes: dict[str, Facts] = {}
    for fact in facts:
        nodes.setdefault(fact.node, fact)
    hosted: dict[str, list[WorkerSpec]] = {node: [] for node in nodes}
    for worker in workers:
        hosted[facts[worker.rank].node].append(worker)
    for node, fact in nodes.items():
        mine = hosted[node]
        memory, threads = sum(worker.memory for worker in mine), sum(worker.nthreads for worker in mine)
        has = min((int(limit.amount) for limit in fact.memory), default=0)
        if has and memory > has:
            text += warning_text(
                f"workers on {fact.host} may use {amount(memory)}, it has {amount(has)} (--memory-limit)",
                key="oversubscribed",
            )
        if threads > _MANY * fact.node_cores:
            text += warning_text(
                f"workers on {fact.host} have {threads} threads, it has {fact.node_cores} cores (--nthreads)",
                key="oversubscribed",
            )
    return text
