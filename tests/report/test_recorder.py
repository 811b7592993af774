"""What a recorder counts, beside a real scheduler with workers in this process."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import time
import types

import pytest
from distributed import Client, Scheduler, Worker

from mpidask.report import record, recorder
from mpidask.report.measures import WorkerMeasures
from mpidask.report.recorder import Recorder
from mpidask.report.seen import Kinds

pytestmark = pytest.mark.one_mpi


def computes_until(mark):
    while not os.path.exists(mark):
        time.sleep(0.01)


async def until(holds):
    while not holds():  # noqa: ASYNC110 - Dask has no event for it
        await asyncio.sleep(0.02)


async def looked():
    """Return when the recorder has looked at the scheduler: it does so five times a second."""
    await asyncio.sleep(0.5)


class Cluster:
    """A scheduler with a recorder; workers are started as a test needs them."""

    def __init__(self, scheduler, client, recorder, directory):
        self.scheduler, self.client, self.recorder, self.directory = scheduler, client, recorder, directory

    def worker(self, **how):
        how = {"nthreads": 1, "dashboard": False, "local_directory": self.directory, **how}
        return Worker(self.scheduler.address, plugins=[WorkerMeasures()], **how)

    def executed(self):
        """Return for how long tasks had been computed when workers reported last."""
        return sum(sum(state.executing.values()) for state in self.scheduler.workers.values())


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """Return what runs a coroutine function with a cluster, and returns the record of that."""
    monkeypatch.setattr(record, "_CLOSE", 60.0)

    def run(script, threads=4):
        path = record.reserve(str(tmp_path))

        async def main():
            async with (
                Scheduler(host="127.0.0.1", dashboard=False, dashboard_address="127.0.0.1:0") as scheduler,
                Client(scheduler.address, asynchronous=True) as client,
            ):
                recorder = Recorder(path, {"version": record.VERSION, "t": time.time(), "threads": threads})
                recorder.start(scheduler)
                with contextlib.closing(recorder):
                    await asyncio.wait_for(script(Cluster(scheduler, client, recorder, str(tmp_path))), 60)

        asyncio.run(main())
        return record.read(path)

    return run


def test_a_task_that_has_ended_since_its_worker_reported_counts_once(recorded, tmp_path):
    async def script(cluster):
        async with cluster.worker(nthreads=4) as worker:
            future = cluster.client.submit(computes_until, str(tmp_path / "end"))
            await until(lambda: cluster.executed() > 1)
            worker.periodic_callbacks["heartbeat"].stop()
            await looked()
            (tmp_path / "end").touch()
            await future
            cluster.recorder.close()

    totals = recorded(script).totals
    computed = totals["kinds"][0][1]
    assert computed > 1
    assert totals["parts"]["useful"] == pytest.approx(computed, abs=0.1)


@pytest.mark.parametrize("ended", [True, False])
def test_what_a_worker_that_is_gone_had_not_finished_is_lost(recorded, tmp_path, ended):
    async def script(cluster):
        async with cluster.worker(nthreads=4) as worker:
            future = cluster.client.submit(computes_until, str(tmp_path / "end"))
            await until(lambda: cluster.executed() > 1)
            worker.periodic_callbacks["heartbeat"].stop()
            await looked()
            if ended:
                (tmp_path / "end").touch()
                await future
                future.release()
                await until(lambda: not cluster.scheduler.tasks)
            await worker.close(executor_wait=False)
            await looked()
            (tmp_path / "end").touch()

    parts = recorded(script).totals["parts"]
    assert (parts["lost"] > 1) != ended
    assert (parts["useful"] > 1) == ended


def work(seconds):
    """Return how long it took: on a busy machine more than it was to."""
    begun = time.monotonic()
    time.sleep(seconds)
    return time.monotonic() - begun


def test_what_was_before_a_restart_still_counts(recorded):
    """The scheduler forgets its tasks then, and how long they took."""
    took = []

    async def script(cluster):
        async with cluster.worker(name="first"):
            took.extend(await cluster.client.gather([cluster.client.submit(work, 0.3, pure=False) for _ in range(3)]))
            await cluster.client.submit(len, "ab")
            await looked()
            await cluster.client.restart(wait_for_workers=False)
            assert not cluster.scheduler.task_prefixes
        async with cluster.worker(name="second"):
            took.append(await cluster.client.submit(work, 0.2))

    totals = recorded(script).totals
    kinds = {name: (seconds, number) for name, seconds, number, _ in totals["kinds"]}
    assert (totals["tasks"], totals["workers"]) == (5, 2)
    assert kinds["work"] == (pytest.approx(sum(took), abs=0.15), 4)
    assert kinds["len"][1] == 1


def test_a_worker_that_comes_back_under_its_address_is_a_new_one(recorded, tmp_path):
    took = []

    async def script(cluster):
        async with cluster.worker(name="a") as worker:
            address, port = worker.address, worker.port
            took.append(await cluster.client.submit(work, 0.5))
            await looked()
        await looked()
        async with cluster.worker(name="a", port=port) as worker:
            assert worker.address == address
            future = cluster.client.submit(computes_until, str(tmp_path / "end"))
            await until(lambda: cluster.executed() > 1)
            await looked()
            cluster.recorder.close()
            (tmp_path / "end").touch()
            await future

    found = recorded(script)
    assert [event["kind"] for event in found.events] == ["up", "down", "up"]
    assert found.totals["parts"]["useful"] > 1.4
    assert found.totals["kinds"][0][:3] == ["work", pytest.approx(took[0], abs=0.1), 1]


def test_a_worker_that_takes_the_place_of_another_comes_after_it(recorded):
    """Where both happens between two looks."""

    async def script(cluster):
        async with cluster.worker(name="a") as worker:
            port = worker.port
            await looked()
        async with cluster.worker(name="a", port=port):
            await looked()

    assert [event["kind"] for event in recorded(script).events] == ["up", "down", "up", "down"]


def test_tasks_that_no_worker_can_take_are_not_the_script_alone(recorded):
    async def script(cluster):
        async with cluster.worker():
            future = cluster.client.submit(work, 0, resources={"GPU": 1})
            await until(lambda: cluster.scheduler.unrunnable)
            await looked()
            before = dict(cluster.recorder._account.idle)
            await asyncio.sleep(1)
            after = dict(cluster.recorder._account.idle)
            future.release()
        assert after["unrunnable"] - before["unrunnable"] > 0.5
        assert after.get("script") == before.get("script")

    recorded(script, threads=1)


def test_it_is_known_when_the_workers_had_come(recorded, monkeypatch):
    """Not when the first task was there, nor what was waited for workers that were lost later."""
    looks, look = [], Recorder._look

    def noting(recorder):
        looks.append(recorder._now())
        look(recorder)

    monkeypatch.setattr(Recorder, "_look", noting)

    async def script(cluster):
        async with cluster.worker():
            await looked()
            async with cluster.worker():
                await looked()
                await asyncio.sleep(1)
                await cluster.client.submit(work, 0.5)
        await looked()

    found = recorded(script, threads=2)
    came = [event["t"] for event in found.events if event["kind"] == "up"]
    moment, waited = found.totals["arrived"]
    assert moment == came[1] < found.totals["first"] - 0.5
    unseen = max(later - sooner for sooner, later in itertools.pairwise([found.began, *looks]) if sooner < came[1])
    assert waited == pytest.approx(came[0] + came[1] - 2 * found.began, abs=2 * unseen + 0.05)
    assert waited < found.totals["parts"]["workers"] - 0.5


def test_samples_that_take_long_are_fewer(recorded, monkeypatch):
    """They take long where each task is a kind of its own."""
    sums = Kinds.sums

    def slow(kinds):
        end = time.thread_time() + 0.03
        while time.thread_time() < end:
            pass
        return sums(kinds)

    monkeypatch.setattr(Kinds, "sums", slow)

    async def script(cluster):
        async with cluster.worker():
            await asyncio.sleep(4)

    found = recorded(script)
    assert len(found.samples) <= 2 + (found.last - found.began - 1) // 6  # else one each second


def test_samples_of_a_large_record_are_fewer(recorded, monkeypatch):
    monkeypatch.setattr(recorder, "_DOUBLED", 1000)

    async def script(cluster):
        async with cluster.worker():
            for number in range(12):
                await cluster.client.submit(work, 0.5, key=f"kind{number}-0")

    found = recorded(script)
    kinds = [kind for sample in found.samples for (entry,) in [sample["workers"].values()] for kind in entry[-1]]
    assert len(kinds) == len(set(kinds)) >= 8
    assert len(found.samples) <= 5
    assert found.totals["tasks"] == 12


def test_a_clock_that_is_set_costs_no_core_hours(recorded, monkeypatch):
    ahead = [0.0]
    clocks = {"monotonic": time.monotonic, "thread_time": time.thread_time, "time": lambda: time.time() + ahead[0]}
    monkeypatch.setattr(recorder, "time", types.SimpleNamespace(**clocks))

    async def script(cluster):
        async with cluster.worker():
            await looked()
            ahead[0] = 3600.0
            await looked()

    found = recorded(script)
    assert found.totals["capacity"] < 4 * 600
    assert found.last - found.began < 600
