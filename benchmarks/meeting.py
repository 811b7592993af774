"""What the meeting of thousands of ranks costs one rank, besides MPI itself.

    .venv-mpich/bin/python benchmarks/meeting.py --ranks 1000 10000
    .venv-mpich/bin/python benchmarks/meeting.py --mpi 32 128

The first: CPU milliseconds of each computation that a rank does between its start and its workers', for facts as ranks
of 128-core nodes have them (bound to one core each, or not), and of nodes with one rank each; and what rank 0 sends to
all, in bytes. The second, with real MPI: that many ranks on this machine meet and part again; CPU per rank and what
telling all of the end takes. Prints tables, writes benchmarks/results/meeting.json.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from mpidask.config import Options  # noqa: E402
from mpidask.launch.cluster import banner  # noqa: E402
from mpidask.launch.cluster.announce import StartupProgress  # noqa: E402
from mpidask.launch.cluster.layout import Layout  # noqa: E402
from mpidask.launch.cluster.rank_spec import rank_infos  # noqa: E402
from mpidask.launch.comm import startup_errors  # noqa: E402
from mpidask.launch.resources import division, network, roles, sharing, staggering  # noqa: E402
from mpidask.launch.resources.division import Facts, Limit  # noqa: E402
from mpidask.launch.resources.roles import Role  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "meeting.json"
CORES = 128  # of a node


def world(size: int, per_node: int, *, bound: bool) -> list[Facts]:
    """Return the facts of so many ranks, as each would send its own."""
    return [pickle.loads(pickle.dumps(_facts(rank, per_node, bound=bound))) for rank in range(size)]  # noqa: S301 - ours


def _facts(rank: int, per_node: int, *, bound: bool) -> Facts:
    number = rank // per_node
    node = f"6b1f4c1e-53d4-4b62-9a7e-{number:012x}"
    return Facts(
        host=f"nid{number:06}",
        node=node,
        network=f"{node}:4026531992",
        cores=(rank % per_node,) if bound else tuple(range(CORES)),
        node_cores=CORES,
        cpu=(Limit(f"cgroup:/slurm/uid_1000/job_4711/step_0/task_{rank % per_node}", 128.0, "cgroup job_4711"),),
        memory=(
            Limit("node", 2**39, "node"),
            Limit("cgroup:/slurm/uid_1000/job_4711", 2**39 - 2**34, "cgroup job_4711"),
        ),
        addresses=(
            ("hsn0", f"10.1.{number // 250}.{number % 250 + 1}"),
            ("hsn1", f"10.2.{number // 250}.{number % 250}"),
        ),
        scratch=f"/tmp/user-{number}",
        pid=100_000 + rank,
        job_ranks=per_node,
        sharing="0123456789abcdef",
    )


def cpu(function: Callable[[], Any], rounds: int = 3) -> float:
    """Return the milliseconds of CPU that a call takes: the median of some."""
    took = []
    for _ in range(rounds):
        begun = time.process_time()
        function()
        took.append((time.process_time() - begun) * 1e3)
    return statistics.median(took)


def measure(size: int, per_node: int, *, bound: bool) -> dict[str, float]:
    """Return name of a computation -> its CPU in ms, and the bytes that are sent to all."""
    facts = world(size, per_node, bound=bound)
    told = dict(enumerate(facts))
    sent = pickle.dumps(division.compact(told))
    assigned = roles.assign(size)
    hosting, serving = [Role.WORKER in role for role in assigned], [bool(role & roles.VITAL) for role in assigned]
    plans = division.divide(facts, hosting, serving)
    agents = sharing.agents(facts, plans, first=0, last=1, apart=False)
    layout = Layout(0, Options(), facts, assigned, plans, "10.1.0.1", "hsn0", agents)
    probers = network.probers(facts)
    answers = {rank: ({"10.1.0.1": f"10.1.9.{rank % 250}"} if rank in probers.values() else {}) for rank in range(size)}
    offers = [("hsn0", "10.1.0.1", 4711)]
    up = {rank: {rank: 1} for rank in range(size - 10)}
    progress = StartupProgress(layout)

    def look() -> None:
        progress._next = 0.0
        progress.show(up)

    parts: dict[str, Callable[[], Any]] = {
        "roles.assign": lambda: roles.assign(size),
        "division.divide": lambda: division.divide(facts, hosting, serving),
        "division.divide, auto": lambda: division.divide(
            facts, hosting, serving, division.WorkerRequest(per_rank=None)
        ),
        "rank 0: compact the facts": lambda: division.compact(told),
        "rank 0: pickle the facts": lambda: pickle.dumps(division.compact(told)),
        "unpickle the facts": lambda: pickle.loads(sent),  # noqa: S301 - ours
        "network: who tries": lambda: (network.one_network(facts), network.probers(facts)),
        "network.best": lambda: network.best(
            offers, network.answers(facts, answers), {rank: fact.host for rank, fact in enumerate(facts)}
        ),
        "waves": lambda: [staggering.delay(rank, encrypted=True) for rank in range(size)],
        "Layout.mine, hosts, client, scheduler": lambda: (layout.mine, layout.hosts, layout.client, layout.scheduler),
        "places": lambda: rank_infos(layout),
        "one look at the progress": look,
        "the banner": lambda: banner.banner("1", assigned, facts, plans, []),
        "the message of missing ranks": lambda: startup_errors.missing(set(range(9, size)), layout.hosts, 300.0, size),
    }
    with open("/dev/null", "w", encoding="utf-8") as sink:
        before, sys.stderr = sys.stderr, sink
        try:
            took = {name: cpu(part) for name, part in parts.items()}
        finally:
            sys.stderr = before
    took["all, ms"] = sum(took.values())
    took["sent to all, KiB"] = len(sent) / 1024
    took["the same as it came, KiB"] = len(pickle.dumps(told)) / 1024
    took["longest text, characters"] = max(
        len(banner.banner("1", assigned, facts, plans, [])),
        len(startup_errors.missing(set(range(9, size)), layout.hosts, 300.0, size).text()),
    )
    return took


#: What each rank of the second measurement does.
MEETING = """
import resource, sys, time
from mpidask.launch.watchdog.watchdog import Watchdog
watchdog = Watchdog.start()
from mpidask.options import loading
from mpidask.launch.cluster import rendezvous
from mpidask.launch.cluster.run import Invocation
from mpidask.launch.comm.polling import WaitPolicy, wait
from mpidask.launch.comm.rank import Rank
def cpu():
    return sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
begun, used = time.monotonic(), cpu()
rank = Rank.join(watchdog)
world = rank.world
joined, joining = time.monotonic(), cpu()
rendezvous.meet(rank, lambda: Invocation(loading.load({})))
met, meeting = time.monotonic(), cpu()
wait(world.meet())
told, telling = time.monotonic(), cpu()
if world.rank == 1:
    world.announce_end(0)
else:
    wait(world.await_end())
ended, ending = time.monotonic(), cpu()
wait(world.meet())
mine = {"MPI": joining - used, "import and meet": meeting - joining,
        "end": ending - telling, "meet, s": met - joined, "end, s": ended - told}
everyone = wait(world.agree(mine, WaitPolicy(100)))
if world.rank == 0:
    import json
    print(json.dumps({
        **{f"{name}, mean per rank": sum(each[name] for each in everyone.values()) / world.size for name in mine},
        "meet, rank 0": everyone[0]["import and meet"],
        "end, teller": everyone[1]["end"],
    }), flush=True)
wait(world.meet())
rank.leave(0)
"""


def with_mpi(size: int) -> dict[str, float]:
    """Have so many ranks meet on this machine; return CPU seconds."""
    from harness import MPI, SETTINGS

    done = subprocess.run(
        [MPI.mpirun, "-n", str(size), sys.executable, "-c", MEETING],
        env={**os.environ, **SETTINGS},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    if done.returncode:
        sys.exit(f"status {done.returncode}\n{done.stdout}\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def show(table: dict[str, dict[str, float]]) -> None:
    """Print a table with a column for each case."""
    print(f"\n{'':40}" + "".join(f"{name:>26}" for name in table))
    for key in next(iter(table.values())):
        print(f"{key:40}" + "".join(f"{row[key]:26.4g}" for row in table.values()))


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ranks", type=int, nargs="*", default=[1000, 10000])
    parser.add_argument("--mpi", type=int, nargs="*", default=[])
    given = parser.parse_args()
    found: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if given.ranks:
        found["computations"] = {
            f"{size}, {words}": measure(size, per_node, bound=bound)
            for words, per_node, bound in (
                ("128/node bound", 128, True),
                ("128/node", 128, False),
                ("1/node", 1, False),
            )
            for size in given.ranks
        }
        show(found["computations"])
    if given.mpi:
        found["MPI"] = {str(size): with_mpi(size) for size in given.mpi}
        show(found["MPI"])
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
