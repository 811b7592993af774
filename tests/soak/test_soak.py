"""A cluster that is used for long stays as it was: memory, open files, processes and shared memory do not grow.

`pytest tests/soak` takes ten minutes; `MPIDASK_SOAK_SECONDS=60` is a shorter one, with as much less to do. The figures
are printed (`-s`), and written to the file that MPIDASK_SOAK_FIGURES names.
"""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import json
import os
import re
import statistics
import sys
import time
from pathlib import Path

import pytest
from distributed import Client
from harness import PATIENCE, marked, read, segments

import mpidask
from mpidask.security import scheduler_file

SECONDS = float(os.environ.get("MPIDASK_SOAK_SECONDS", "600"))

#: Rounds in ten minutes. Each is a client that comes, 50 tasks, and in every fourth a worker's death.
ROUNDS = max(12, round(200 * SECONDS / 600))
TASKS = 50
DEATH_EVERY = 4
WORKERS = 3

#: Dask's scheduler keeps logs: those of clients and workers that have left for an hour, and the last 1,000 transitions
#: with what they hold. With these it soon has as much as it will ever have, and other growth shows.
#: It never forgets a span, of which each round makes one: https://github.com/dask/distributed/blob/main/distributed/spans.py
SHORT_LOGS = {
    "DASK_DISTRIBUTED__SCHEDULER__EVENTS_CLEANUP_DELAY": "1s",
    "DASK_DISTRIBUTED__ADMIN__LOW_LEVEL_LOG_LENGTH": "100",
}

#: What may be added between the second quarter and the last: a share of it, and an amount.
TOLERANCES = {
    "scheduler's memory, MiB": (0.04, 2),
    "memory of all, MiB": (0.04, 6),
    "scheduler's open files": (0, 1),
    "open files of all": (0, 3),
    "processes": (0, 0.5),
    "threads": (0, 2),
    "shared-memory files": (0, 0.5),
}


def deadly():
    """Return a task that kills its worker at its first attempt; a function of this module workers cannot import."""

    def die(flag):
        if not os.path.exists(flag):
            open(flag, "w").close()
            os._exit(4)
        return 3

    return die


@dataclasses.dataclass
class Cluster:
    """The cluster, its figures, and what has been done to it."""

    run: object
    file: Path
    scheduler: int = 0
    before: frozenset[str] = frozenset()
    figures: list[dict[str, float]] = dataclasses.field(default_factory=list)
    done: dict[str, int] = dataclasses.field(default_factory=lambda: dict.fromkeys(("clients", "tasks", "deaths"), 0))

    @contextlib.contextmanager
    def client(self):
        """Connect in the two ways that there are, by turns."""
        self.done["clients"] += 1
        if self.done["clients"] % 2:
            with mpidask.connect(self.file, timeout=60 * PATIENCE, quiet=True) as client:
                yield client
        else:
            entry = scheduler_file.read(str(self.file))
            with Client(entry.address, security=entry.keys.security(), timeout=60 * PATIENCE) as client:
                yield client

    def measure(self) -> None:
        """Note how much there is of everything."""
        pids = marked(self.run.mark)
        files = {pid: open_files(pid) for pid in pids}
        values = (
            memory(self.scheduler),
            sum(map(memory, pids)),
            files.get(self.scheduler, 0),
            sum(files.values()),
            len(pids),
            sum(int(re.search(r"Threads:\s+(\d+)", read(pid, "status") or "Threads: 0").group(1)) for pid in pids),
            len(segments() - self.before),
        )
        self.figures.append(dict(zip(TOLERANCES, values, strict=True)))


def memory(pid: int) -> float:
    found = re.search(r"^Pss:\s+(\d+)", read(pid, "smaps_rollup"), re.MULTILINE)
    return int(found.group(1)) / 1024 if found else 0


def open_files(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def wait(condition, what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"no {what} within {seconds} s"
        time.sleep(0.05)


@pytest.fixture
def cluster(ranks):
    file = ranks.directory / "cluster.json"
    before = frozenset(segments())
    words = [sys.executable, "-m", "mpidask.cli", "serve", "--scheduler-file", str(file)]
    run = ranks.start(WORKERS + 1, command=words, environ=SHORT_LOGS)
    wait(lambda: file.exists() or run.process.poll() is not None, "scheduler file")
    assert run.process.poll() is None, run._read("err")
    cluster = Cluster(run, file, before=before)
    with cluster.client() as client:
        client.wait_for_workers(WORKERS, timeout=60 * PATIENCE)
        cluster.scheduler = client.run_on_scheduler(os.getpid)
    return cluster


def one_round(cluster: Cluster, number: int, directory: Path) -> None:
    """A client comes, has some work done, kills a worker sometimes, and leaves."""
    with cluster.client() as client:
        client.wait_for_workers(WORKERS, timeout=60 * PATIENCE)
        assert sum(client.gather(client.map(lambda x: x + number, range(TASKS), pure=False))) == sum(
            number + each for each in range(TASKS)
        )
        cluster.done["tasks"] += TASKS
        if number % DEATH_EVERY == 0:
            flag = str(directory / f"died-{number}")
            assert client.submit(deadly(), flag, retries=3, pure=False).result(timeout=60 * PATIENCE) == 3
            cluster.done["deaths"] += 1
            client.wait_for_workers(WORKERS, timeout=60 * PATIENCE)
        assert len(client.run(os.getpid)) == WORKERS


def growth(cluster: Cluster) -> dict[str, tuple[float, float]]:
    """Return the means of the second quarter and of the last, of each figure."""
    quarter = len(cluster.figures) // 4
    second, last = cluster.figures[quarter : 2 * quarter], cluster.figures[-quarter:]
    return {
        name: tuple(statistics.fmean(each[name] for each in part) for part in (second, last)) for name in TOLERANCES
    }


def test_a_long_life(ranks, cluster, tmp_path):
    faulthandler.cancel_dump_traceback_later()  # pytest's, for tests that hang: this one takes its time
    begun = time.monotonic()
    for number in range(ROUNDS):
        one_round(cluster, number, tmp_path)
        time.sleep(max(0.5, begun + (number + 1) * SECONDS / ROUNDS - time.monotonic()))
        cluster.measure()
    print(f"\n{time.monotonic() - begun:.0f} s, {cluster.done}")
    means = growth(cluster)
    for name, (second, last) in means.items():
        print(f"{name:26} second quarter {second:8.2f}  last {last:8.2f}  {last - second:+.2f}")
    if "MPIDASK_SOAK_FIGURES" in os.environ:
        Path(os.environ["MPIDASK_SOAK_FIGURES"]).write_text(json.dumps(cluster.figures))
    with cluster.client() as client:
        client.shutdown()
    result = cluster.run.result(60)
    assert result.status == 0, result
    assert not result.leftover, result
    assert not cluster.file.exists()
    assert not ranks.leftovers(), result
    died = [line for line in result.words if "died: exit status 4; it is started again" in line]
    assert len(died) == cluster.done["deaths"], result
    for name, (share, amount) in TOLERANCES.items():
        second, last = means[name]
        assert last <= second * (1 + share) + amount, f"{name} grew from {second:.2f} to {last:.2f}"
