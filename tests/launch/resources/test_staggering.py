"""When workers connect, how long that may take, and that nothing grows worse than linearly with the ranks."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import pickle
import random
import time
from collections import Counter

import dask.config
import distributed.versions
import pytest
from distributed import Scheduler, Worker
from selection import some

from mpidask import config, quantities
from mpidask.launch.cluster import banner
from mpidask.launch.cluster.layout import Layout
from mpidask.launch.cluster.rank_spec import rank_infos
from mpidask.launch.comm import startup_errors
from mpidask.launch.resources import division, network, roles, sharing, staggering
from mpidask.launch.resources.division import Facts, Limit
from mpidask.launch.resources.roles import Role
from mpidask.launch.servers.plugins import registration
from mpidask.launch.servers.plugins.registration import Registration

pytestmark = pytest.mark.one_mpi

SIZES = (1, 2, 100, 200, 1000, 10_000, 100_000)
CONNECT, TCP, BACKLOG = (
    "distributed.comm.timeouts.connect",
    "distributed.comm.timeouts.tcp",
    "distributed.comm.socket-backlog",
)
SERVER = {"host": "127.0.0.1", "dashboard": False, "dashboard_address": "127.0.0.1:0"}
DASK = {CONNECT: "30s", TCP: "30s", BACKLOG: 2048}

encrypted_or_not = pytest.mark.parametrize("encrypted", [True, False])


# ------------------------------------------------------------------- waves
@encrypted_or_not
def test_a_small_world_is_not_delayed(encrypted):
    assert {staggering.delay(index, encrypted=encrypted) for index in range(200)} == {0.0}
    assert staggering.spread(200, encrypted=encrypted) == 0.0
    assert staggering.settings(200, DASK, encrypted=encrypted) == {}
    assert staggering.startup_timeout(200, encrypted=encrypted) == 300.0


@encrypted_or_not
def test_workers_come_one_after_another(encrypted):
    delays = [staggering.delay(index, encrypted=encrypted) for index in range(10_000)]
    assert delays == sorted(delays)
    assert max(delays) == staggering.spread(10_000, encrypted=encrypted)
    in_each_second = Counter(map(int, delays))
    del in_each_second[0]  # with those that come at once
    assert max(in_each_second.values()) <= 250


def test_ten_thousand_workers_come_within_minutes():
    assert 10 < staggering.spread(10_000, encrypted=False) < staggering.spread(10_000, encrypted=True) < 120


@encrypted_or_not
@pytest.mark.parametrize("workers", SIZES)
def test_every_timeout_is_longer_than_the_last_worker_waits(workers, encrypted):
    spread = staggering.spread(workers, encrypted=encrypted)
    settings = DASK | staggering.settings(workers, DASK, encrypted=encrypted)
    assert quantities.seconds(settings[CONNECT]) >= 29 + spread
    assert quantities.seconds(settings[TCP]) >= 29 + spread
    # What comes last may wait as long as it has been waited for, and still be in time.
    assert staggering.startup_timeout(workers, encrypted=encrypted) > spread + quantities.seconds(settings[CONNECT])


@encrypted_or_not
def test_larger_runs_get_more(encrypted):
    for smaller, larger in itertools.pairwise(SIZES):
        before, after = (DASK | staggering.settings(size, DASK, encrypted=encrypted) for size in (smaller, larger))
        assert all(quantities.seconds(before[name]) <= quantities.seconds(after[name]) for name in (CONNECT, TCP))
        assert before[BACKLOG] <= after[BACKLOG]
        assert staggering.open_files(smaller) < staggering.open_files(larger)


def test_what_the_user_has_set_is_added_to_and_what_is_enough_stays():
    longer = staggering.settings(10_000, DASK | {CONNECT: "10m", BACKLOG: 100_000}, encrypted=True)
    assert quantities.seconds(longer[CONNECT]) > 600
    assert longer[BACKLOG] == 100_000


def test_the_configuration_of_a_process_is_changed_where_it_has_to_be():
    with dask.config.set({}):
        staggering.configure(staggering.Turn(0, 100, True))
        assert dask.config.get(CONNECT) == DASK[CONNECT]
    with dask.config.set({CONNECT: "40s"}):
        staggering.configure(staggering.Turn(0, 10_000, True))
        assert quantities.seconds(dask.config.get(CONNECT)) > 130
        dask.config.set({CONNECT: DASK[CONNECT], TCP: DASK[TCP], BACKLOG: DASK[BACKLOG]})


def test_a_rank_starts_a_few_of_its_workers_at_a_time():
    running, most, started = 0, 0, []

    async def worker(number):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        started.append(number)

    for hosting, cores, expected in ((1, 64, 128), (1, 2, 8), (80, 64, 3), (10_000, 64, 1)):
        most, started = 0, []
        turn = staggering.Turn(0, hosting, cores=cores)
        asyncio.run(staggering.in_turn([worker(number) for number in range(128)], turn))
        assert (most, len(started)) == (expected, 128)
        assert hosting * most <= max(250, hosting)


def test_a_rank_waits_for_its_turn():
    async def begun(index):
        loop, times = asyncio.get_running_loop(), []

        async def worker():
            times.append(loop.time())

        before = loop.time()
        await staggering.in_turn([worker()], staggering.Turn(index, 10_000))
        return times[0] - before

    assert asyncio.run(begun(290)) >= staggering.delay(290, encrypted=True) > 0.3


def test_too_few_open_files_are_told():
    assert staggering.shortage(100, 1024) is None
    assert staggering.shortage(10_000, 65_536) is None
    text = staggering.shortage(10_000, 20_000)
    assert "10000 workers" in text and "20000" in text and "ulimit -Hn" in text


# ------------------------------------------------------------------- the ranks' own computations
def world(size, per_node, *, bound=True):
    return [
        Facts(
            host=f"n{rank // per_node:05}",
            node=f"node-{rank // per_node}",
            network=f"node-{rank // per_node}:1",
            cores=(rank % per_node,) if bound else tuple(range(128)),
            node_cores=128,
            cpu=(Limit(f"cgroup:/task_{rank % per_node}", 128.0, "cgroup"),),
            memory=(Limit("node", 2**39, "node"), Limit("cgroup:/job", 2**38, "cgroup")),
            addresses=(("ib0", f"10.0.{rank // per_node // 250}.{rank // per_node % 250}"),),
            scratch=f"/tmp/{rank // per_node}",
            pid=rank,
            job_ranks=per_node,
            sharing="same",
        )
        for rank in range(size)
    ]


def meeting(size, per_node, **how):
    """What each rank computes of the facts of all, and what the first one says."""
    facts = world(size, per_node, **how)
    assigned = roles.assign(size)
    hosting, serving = [Role.WORKER in role for role in assigned], [bool(role & roles.VITAL) for role in assigned]
    plans = division.divide(facts, hosting, serving)
    division.divide(facts, hosting, serving, division.WorkerRequest(per_rank=None))
    agents = sharing.agents(facts, plans, first=0, last=1, apart=False)
    layout = Layout(0, config.Options(), facts, assigned, plans, "", "", agents)
    assert layout.startup_timeout == staggering.startup_timeout(size - 2, encrypted=True)
    all_ranks = rank_infos(layout)
    first = network.probers(facts)
    found = network.answers(facts, {rank: {"10.0.0.0": "10.0.0.0"} for rank in first.values()})
    network.best([("ib0", "10.0.0.0", 1)], found, layout.hosts)
    sent = pickle.dumps(division.compact(dict(enumerate(facts))))
    pickle.loads(sent)
    up = dict.fromkeys(range(5, size), 1)
    texts = [
        banner.banner("1", assigned, facts, plans, []),
        banner.missing_ranks([rank for rank, hosts in enumerate(hosting) if hosts and rank not in up], layout.hosts),
        startup_errors.missing(set(range(size)), layout.hosts, 300.0, size).text(),
    ]
    assert len(plans) == size - 2
    assert [place.workers for place in all_ranks[:4]] == [(), (), ("2",), ("3",)]
    return len(sent), texts


@pytest.mark.one_mpi
@pytest.mark.parametrize(
    ("per_node", "bound"), some([(128, True), (128, False), (1, True), (10_000, True)], [(128, True)])
)
def test_ten_times_the_ranks_take_ten_times_as_long(per_node, bound):
    """CPU seconds; a computation that looks at all ranks for each rank would take a hundred times as long."""

    def seconds(size):
        begun = time.process_time()
        sent, texts = meeting(size, per_node, bound=bound)
        return time.process_time() - begun, sent, texts

    seconds(100)
    small = min(seconds(1000)[0] for _ in range(3))
    large, sent, texts = min(seconds(10_000) for _ in range(2))
    assert large < 30 * small
    assert sent < 300 * 10_000
    assert all(len(text) < 1000 for text in texts)


GPUS = tuple(division.Gpu(name, f"0000:0{name}:00.0", "NVIDIA H100") for name in "012")


def test_plans_are_those_of_each_node_alone():
    """Nodes mixed among the ranks, and several kinds of ranks on each."""
    chance = random.Random(1)
    facts = [
        dataclasses.replace(fact, gpus=chance.choice([(), GPUS]), cores=tuple(chance.sample(range(16), 5)))
        for fact in world(60, 20)
    ]
    chance.shuffle(facts)
    hosting, serving = [chance.random() < 0.8 for _ in facts], [chance.random() < 0.1 for _ in facts]
    for request in (
        division.WorkerRequest(),
        division.WorkerRequest(per_rank=None),
        division.WorkerRequest(per_rank=3, gpus=False),
    ):
        together = [dataclasses.replace(plan, name="") for plan in division.divide(facts, hosting, serving, request)]
        for node in {fact.node for fact in facts}:
            members = [rank for rank, fact in enumerate(facts) if fact.node == node]
            alone = division.divide(*([each[rank] for rank in members] for each in (facts, hosting, serving)), request)
            alone = [dataclasses.replace(plan, rank=members[plan.rank], name="") for plan in alone]
            assert [plan for plan in together if plan.rank in members] == alone


def test_compact_facts_are_the_same():
    facts = dict(enumerate(pickle.loads(pickle.dumps(fact)) for fact in world(300, 100, bound=False)))
    compact = division.compact(facts)
    assert compact == facts
    assert compact[1].cores is compact[2].cores is compact[299].cores
    assert len(pickle.dumps(compact)) < len(pickle.dumps(facts)) / 4


# ------------------------------------------------------------------- the network
def test_one_rank_tries_for_all_of_its_node():
    facts = world(9, 3)
    assert sorted(network.probers(facts).values()) == [0, 3, 6]
    found = network.answers(facts, {rank: {"a": f"of {rank}"} if rank % 3 == 0 else {} for rank in range(9)})
    assert [found[rank]["a"] for rank in range(9)] == ["of 0"] * 3 + ["of 3"] * 3 + ["of 6"] * 3


def test_thousands_may_probe():
    """More than the queue of a listening socket holds, at most 4096 by default."""
    targets = network.ProbeTargets([("lo", network.LOOPBACK)])
    try:
        for _ in range(6000):
            assert network.probe(targets.offers, 1.0) == {network.LOOPBACK: network.LOOPBACK}
    finally:
        targets.close()


def test_where_many_try_each_waits_longer():
    assert network.probe_timeout(80) == 3.0
    assert network.probe_timeout(10_000) == 30.0


# ------------------------------------------------------------------- the scheduler
def versions(**packages):
    return {"host": {}, "packages": {"dask": "1", "numpy": "2"} | packages}


def test_versions_are_compared_as_dask_does():
    compare, mine = distributed.versions.error_message, versions()
    several = [{}, {"a": mine}, {"a": mine, "b": mine}, {"a": mine, "b": versions(numpy="3")}, {"a": None, "b": mine}]
    for workers in several:
        for source in (mine, versions(dask="2"), versions(other="1")):
            arguments = (mine, workers, source, "Worker-1")
            assert registration._compare_kinds(compare, *arguments) == compare(*arguments)


def test_workers_that_are_alike_are_compared_once(monkeypatch):
    """With real workers; one of them has other packages, and is warned as by Dask."""
    compared = []

    def count(scheduler, workers, *source, **named):
        compared.append(len(workers))
        return compare(scheduler, workers, *source, **named)

    async def run():
        async with asyncio.timeout(60), Scheduler(**SERVER, protocol="tcp", port=0, plugins=[Registration()]) as it:
            options = SERVER | {"nthreads": 1}
            async with Worker(it.address, **options), Worker(it.address, **options), Worker(it.address, **options):
                kinds = [state.versions for state in it.workers.values()]
                assert kinds[0] is kinds[1] is kinds[2]

    compare = distributed.versions.error_message
    monkeypatch.setattr(distributed.versions, "error_message", count)
    asyncio.run(run())
    assert compared == [1, 1, 1]


def test_workers_that_leave_at_the_end_are_not_told_of_each_other():
    """Dask sends each that stays a message for each that leaves."""

    async def told(prepare):
        sent = []
        async with Scheduler(**SERVER, protocol="tcp", port=0) as it:
            options = SERVER | {"nthreads": 1}
            async with Worker(it.address, **options), Worker(it.address, **options), Worker(it.address, **options):
                it.worker_send = lambda worker, message: sent.append(message["op"])
                prepare(it)
            while it.workers:  # noqa: ASYNC110 - Dask has no event for it
                await asyncio.sleep(0.01)
        return sent.count("remove-worker")

    assert asyncio.run(told(lambda scheduler: None)) > 0
    assert asyncio.run(told(registration.let_go)) == 0
