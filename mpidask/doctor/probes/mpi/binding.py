"""How many cores a rank may use: whether the launcher, or who started this shell, binds it to too few."""

from __future__ import annotations

import os
import re
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
    """Return the cores of this process, of the node, and of the job here; a core is called by its first CPU.

    Launchers bind to cores. The kernel, cgroups and batch systems count CPUs: two of a core with two hardware threads.
    """
    from mpidask.launch.resources.hardware import cpu_limits

    limits = [limit.amount for limit in cpu_limits(os.environ, root)]
    cores = _cores(root)
    return {
        "cores": sorted({cores.get(cpu, cpu) for cpu in os.sched_getaffinity(0)}),
        "node_cores": len({*cores.values()}),
        "node_cpus": len(cores),
        "limit": min(limits, default=None),
        "launcher": launcher_name(os.environ),
        "ranks": local_size(os.environ) or 1,
    }


def _cores(root: Path) -> dict[int, int]:
    """Return CPU -> the first CPU of its core."""
    from mpidask.launch.resources.hardware import listing, text_of

    # https://docs.kernel.org/admin-guide/cputopology.html
    folder = root / "sys/devices/system/cpu"
    cpus = [int(name.removeprefix("cpu")) for name in listing(folder) if re.fullmatch(r"cpu\d+", name)]
    said = {cpu: text_of(folder / f"cpu{cpu}/topology/thread_siblings_list") for cpu in cpus}  # none of one offline
    known = {cpu: int(re.split("[,-]", siblings)[0]) for cpu, siblings in said.items() if siblings}
    return known or {cpu: cpu for cpu in range(os.cpu_count() or 1)}


def judge(facts: Facts) -> Iterator[Finding]:
    """Find a process outside of mpirun that may use less than its node; `compare` judges ranks."""
    if facts["launcher"]:
        return
    cores, expected = len(facts["cores"]), _expected(facts)
    if cores < expected and cores == 1:
        yield warning(
            f"this process is bound to 1 core (number {facts['cores'][0]}) of {expected:g}, and so is what it starts",
            f"taskset -cp 0-{facts['node_cpus'] - 1} $$, or leave the shell that is bound",
        )
    else:
        yield ok(f"{cores} of {facts['node_cores']} cores{_limited(facts)}")


def _expected(facts: Facts) -> float:
    """Return how many cores all processes of the job may expect here."""
    threads = facts["node_cpus"] / facts["node_cores"]  # of a core
    return max(1.0, float(min(facts["node_cores"], (facts["limit"] or facts["node_cpus"]) / threads)))


def _limited(facts: Facts) -> str:
    return f", and CPU time of {facts['limit']:g} CPUs" if _expected(facts) < len(facts["cores"]) else ""


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
