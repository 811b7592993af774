"""How many cores a rank may use: whether the launcher, or who started this shell, binds it to too few."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mpidask.doctor.finding import Finding, failure, ok, warning
from mpidask.doctor.probe import Facts, Probe, Scope
from mpidask.launch.watchdog.launcher_environment import launcher_name, local_size

_REMEDIES = {
    "Open MPI's mpirun": "mpirun --bind-to none ..., or --map-by ppr:1:node:pe=CORES",
    "MPICH's mpirun (Hydra)": "mpirun -bind-to none ...",
    "srun": "srun --cpus-per-task=CORES --cpu-bind=none ...",
    "PALS (mpiexec)": "mpiexec --depth=CORES --cpu-bind depth ...",
}


def measure(root: Path) -> dict[str, Any]:
    """Return the cores of this process, of the node, and of the job here."""
    from mpidask.launch.resources.hardware import cpu_limits

    limits = [limit.amount for limit in cpu_limits(os.environ, root)]
    return {
        "cores": sorted(os.sched_getaffinity(0)),
        "node_cores": os.cpu_count() or 1,
        "limit": min(limits, default=None),
        "launcher": launcher_name(os.environ),
        "ranks": local_size(os.environ) or 1,
    }


def judge(facts: Facts) -> Iterator[Finding]:
    """Find a process outside of mpirun that may use less than its node; `compare` judges ranks."""
    if facts["launcher"]:
        return
    cores, expected = len(facts["cores"]), _expected(facts)
    if cores < expected and cores == 1:
        yield warning(
            f"this process is bound to 1 core (number {facts['cores'][0]}) of {expected}, and so is what it starts",
            "taskset -cp 0-" + str(facts["node_cores"] - 1) + " $$, or leave the shell that is bound",
        )
    else:
        yield ok(f"{cores} of {facts['node_cores']} cores{_limited(facts)}")


def _expected(facts: Facts) -> float:
    """Return how many cores all processes of the job may expect here."""
    return float(min(facts["node_cores"], facts["limit"] or facts["node_cores"]))


def _limited(facts: Facts) -> str:
    limit = facts["limit"]
    return "" if limit is None or limit >= len(facts["cores"]) else f", and CPU time of {limit:g}"


def compare(found: Mapping[str, Facts]) -> Iterable[Finding]:
    """Find nodes on whose cores ranks are crowded together while others are idle."""
    nodes: dict[str, list[Facts]] = defaultdict(list)
    for place, facts in found.items():
        if facts["launcher"]:
            nodes[place.rpartition(" on ")[2]].append(facts)
    for host, ranks in nodes.items():
        yield _of_a_node(host, ranks)


def _of_a_node(host: str, ranks: list[Facts]) -> Finding:
    """Return what is to be said of the ranks of a node."""
    used = {core for facts in ranks for core in facts["cores"]}
    expected = max(_expected(facts) for facts in ranks)
    each = len(ranks[0]["cores"])
    remedy = _REMEDIES.get(ranks[0]["launcher"], "see your launcher's options for binding")
    said = f"{len(ranks)} rank{'s' * (len(ranks) > 1)} on {host} use {min(len(used), expected):g} of {expected:g} cores"
    if len(used) == 1 < expected:
        return failure(f"{said}: all are bound to core {min(used)}", remedy)
    if 2 * len(used) <= expected and len(used) == len(ranks):
        return warning(f"{said}: each is bound to one", remedy)
    return ok(f"{said}, {each} each" if len(used) > 1 else said)


PROBE = Probe("cores", measure, judge, compare, scope=Scope.RANK)
