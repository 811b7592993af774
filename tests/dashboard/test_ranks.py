"""What the page "Ranks" says, and where it has it from: without a browser, without MPI."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import socket
import time
from types import SimpleNamespace

import pytest
from distributed import Status

from mpidask.config import Options
from mpidask.dashboard.measured import measured
from mpidask.dashboard.table import SOURCE, Row, add_up, numbers, summary, tasks_in_words
from mpidask.launch.cluster.layout import Layout
from mpidask.launch.cluster.rank_spec import rank_infos
from mpidask.launch.resources.division import Facts, Limit, WorkerSpec
from mpidask.launch.resources.roles import Role
from mpidask.launch.servers.plugins.ranks_page import RanksPlugin
from mpidask.launch.servers.plugins.worker_exits import EXIT_TOPIC, Death, Postmortem
from mpidask.launch.servers.specs import RankInfo

HERE = socket.gethostname()
WORKER = Row("2", "n2", "worker", "2", "running", pid=4711, threads=4, memory=3 * 2**28, memory_limit=3 * 2**30)


def test_all_that_is_shown_can_be_written_as_json():
    found = numbers([WORKER], "rank", {"processing": 3, "released": 5, "erred": 0})
    assert json.loads(json.dumps(found)) == found
    assert found["rows"] == [vars(WORKER)]
    assert found["tasks"] == {
        "processing": 3,
        "queued": 0,
        "waiting": 0,
        "no-worker": 0,
        "memory": 0,
        "erred": 0,
    }


def test_tasks_in_words():
    total = add_up([{"processing": 3, "erred": 1, "released": 9}, {"processing": 1, "memory": 0}])
    assert tasks_in_words(total) == "4 processing, 1 failed"
    assert tasks_in_words({}) == "none"


def test_the_line_above_the_table():
    scheduler = Row("0", "n1", "scheduler", "", "running", pid=7, memory=2**30)
    dead = Row("3", "n3", "worker", "3", "dead", restarts=2, message="12:00:00 died: exit status 4")
    assert summary([scheduler, WORKER, dead]) == (
        "3 ranks on 3 nodes · 2 workers: 1 running, 1 dead · 768.00 MiB in use by workers · 2 restarts"
    )
    assert summary([dataclasses.replace(WORKER, place="77")], "job") == (
        "1 job on 1 node · 1 worker: 1 running · 768.00 MiB in use by workers"
    )
    assert summary([]) == "0 ranks on 0 nodes · 0 workers"


def facts(host, pid):
    return Facts(
        host, host, host, (0, 1), 2, (), (Limit("node", 2.0**33, "node"), Limit("job", 2.0**32, "job")), pid=pid
    )


def test_places_are_what_the_layout_says():
    roles = [Role.SCHEDULER | Role.CLIENT, Role.WORKER]
    workers = [WorkerSpec(1, "1-0", 2, 2**30), WorkerSpec(1, "1-1", 2, 2**30)]
    layout = Layout(0, Options(), [facts("n1", 11), facts("n2", 22)], roles, workers, "127.0.0.1", "loopback", [0, 1])
    assert rank_infos(layout) == (
        RankInfo(0, "n1", "scheduler, script", 11, 2**32),
        RankInfo(1, "n2", "worker", 22, 2**32, ("1-0", "1-1")),
    )


def state(name, status=Status.running, **more):
    return SimpleNamespace(
        name=name,
        status=status,
        pid=500,
        nthreads=2,
        memory_limit=2**30,
        metrics={"memory": 2**28, "cpu": 150.0, "spilled_bytes": {"memory": 5, "disk": 7}},
        host="10.0.0.9",
        executing={"a": 10.0},
        processing={"a": 1, "b": 1, "c": 1},
        services={"dashboard": 1},
        **more,
    )


#: What a row says of such a worker, but for its uptime.
UP = {
    "state": "running",
    "pid": 500,
    "threads": 2,
    "cpu": 150.0,
    "memory": 2**28,
    "memory_limit": 2**30,
    "running": 1,
    "queued": 2,
    "spill": 7,
}


class Run:
    """A plugin beside a scheduler that has these workers."""

    def __init__(self, *its_ranks):
        self.postmortem = Postmortem()
        self.plugin = RanksPlugin(its_ranks, self.postmortem)
        self.scheduler = SimpleNamespace(workers={}, monitor=SimpleNamespace(recent=lambda: {"cpu": 3.0}))
        asyncio.run(self.plugin.start(self.scheduler))

    def add(self, worker):
        address = f"tcp://10.0.0.9:{len(self.scheduler.workers)}"
        self.scheduler.workers[address] = worker
        self.plugin.add_worker(self.scheduler, address)
        return address

    @property
    def rows(self):
        """The rows, without what time changes."""
        return [dataclasses.replace(row, uptime=None) for row in self.plugin.rows()]


def test_a_worker_comes_dies_and_comes_back():
    run = Run(RankInfo(2, "n2", "worker", 99, None, ("2",)))
    assert run.rows == [Row("2", "n2", "worker", "2", "starting")]
    address = run.add(state(2))  # Dask's name for it is a number
    up = Row("2", "n2", "worker", "2", **UP)
    assert run.rows == [up]
    del run.scheduler.workers[address]
    assert [row.state for row in run.rows] == ["gone"]
    run.postmortem.deaths["2"] = Death(1, "12:00:00 died: exit status 4")
    assert run.rows == [Row("2", "n2", "worker", "2", "dead", restarts=1, message="12:00:00 died: exit status 4")]
    run.add(state(2))
    assert run.rows == [dataclasses.replace(up, restarts=1, message="12:00:00 died: exit status 4")]


@pytest.mark.parametrize(
    ("status", "word"),
    [(Status.paused, "paused"), (Status.closing_gracefully, "closing"), (Status.closing, "closing")],
)
def test_states_in_words(status, word):
    run = Run(RankInfo(2, "n2", "worker", 99, None, ("2",)))
    run.add(state(2, status))
    assert [row.state for row in run.rows] == [word]


def test_a_rank_without_workers_is_looked_at_if_it_is_here():
    run = Run(RankInfo(0, HERE, "scheduler", os.getpid(), 2**33), RankInfo(1, "elsewhere", "script", os.getpid()))
    scheduler, script = run.rows
    assert (scheduler.place, scheduler.role, scheduler.pid, scheduler.state) == (
        "0",
        "scheduler",
        os.getpid(),
        "running",
    )
    assert scheduler.memory > 2**20
    assert scheduler.memory_limit == 2**33
    assert scheduler.cpu == 3.0
    assert script == Row("1", "elsewhere", "script", "", "running", pid=os.getpid())
    lost = Run(RankInfo(1, HERE, "script", 2**22 + 1))  # more than Linux gives
    assert [row.state for row in lost.rows] == ["gone"]


def test_a_worker_that_joined_from_elsewhere_is_shown():
    run = Run(RankInfo(0, "elsewhere", "scheduler", 1))
    run.add(state("guest-2"))
    assert run.rows[1:] == [Row("", "10.0.0.9", "worker", "guest-2", **UP)]


@pytest.mark.parametrize(("computed", "idle"), [(0.0, 0.95), (90.0, 0.5), (500.0, 0.0)])
def test_the_idle_share_is_that_of_all_threads_since_the_start(computed, idle):
    """Of two threads in 100 s, one of which has computed for 10 s and goes on."""
    worker = state(2)
    worker.metrics["mpidask"] = {"computed": computed, "pages": False}
    assert measured(worker, time.monotonic() - 100)["idle"] == pytest.approx(idle, abs=0.02)


def test_links_to_pages_that_a_worker_has_not_are_taken_away():
    run = Run(RankInfo(2, "n2", "worker", 99, None, ("2", "3", "4")))
    without, has_them, silent = state(2), state(3), state(4)
    without.metrics["mpidask"] = {"computed": 0.0, "pages": False}
    has_them.metrics["mpidask"] = {"computed": 0.0, "pages": True}
    for worker in (without, has_them, silent):
        run.add(worker)
    assert [worker.services for worker in (without, has_them, silent)] == [{}, {"dashboard": 1}, {"dashboard": 1}]


def test_the_plugin_has_the_name_by_which_the_page_finds_it():
    assert RanksPlugin.name == SOURCE


ADDRESS = "tcp://127.0.0.1:5"


def exit_of(exitcode):
    return {"worker": ADDRESS, "name": 2, "host": "n2", "exitcode": exitcode, "limit": None, "oom": False}


def test_deaths_are_counted_and_the_last_is_kept(capsys):
    async def die_twice():
        postmortem = Postmortem()
        scheduler = SimpleNamespace(workers={ADDRESS: SimpleNamespace(name=2, nanny="")})
        for exitcode, tasks in ((4, {"f-1": 0.1}), (-11, {})):
            postmortem.add_worker(scheduler, ADDRESS)
            postmortem.log_event(EXIT_TOPIC, exit_of(exitcode))
            removed = {"action": "remove-worker", "worker": ADDRESS, "processing-tasks": tasks}
            postmortem.log_event("all", removed)
            yield postmortem.deaths

    async def look():
        return [deaths["2"] async for deaths in die_twice()]

    first, second = asyncio.run(look())
    assert first.count == 1
    assert first.last.endswith(" died: exit status 4; tasks it had: f-1")
    assert second.count == 2
    assert second.last.endswith(" died: signal 11 (SIGSEGV)")
    assert capsys.readouterr().err.count("worker 2 on n2 died: ") == 2
