"""What each worker gets of its node."""

from __future__ import annotations

import dataclasses

import pytest

from mpidask.errors import WorldTooSmallException
from mpidask.launch.resources.division import Facts, Gpu, Limit, WorkerRequest, divide
from mpidask.launch.resources.roles import Role, assign

GIB = 2**30


def facts(cores, *, node="a", memory=(), cpu=(), gpus=(), total=64 * GIB):
    limits = (Limit("node", total, "node"), *memory)
    seen = tuple(Gpu(name, name) for name in gpus)
    return Facts(node, node, node, tuple(cores), 8, tuple(cpu), limits, seen, "CUDA_VISIBLE_DEVICES" if gpus else "")


def plan(world, *, hosting=None, serving=None, **options):
    hosting = hosting or [True] * len(world)
    return divide(world, hosting, serving or [False] * len(world), WorkerRequest(**options))


def test_unbound_ranks_share_the_cores():
    assert [w.nthreads for w in plan([facts(range(8))] * 4)] == [2, 2, 2, 2]


def test_bound_ranks_keep_theirs():
    assert [w.nthreads for w in plan([facts([0, 1, 2, 3]), facts([4, 5])])] == [4, 2]


def test_more_workers_than_cores_get_one_thread_each():
    assert [w.nthreads for w in plan([facts(range(2))] * 6)] == [1] * 6


def test_the_scheduler_and_script_take_no_cores():
    world = [facts(range(8))] * 4
    assert [w.nthreads for w in plan(world, hosting=[False, False, True, True])] == [4, 4]


def test_a_cpu_quota_is_shared_by_those_who_have_it():
    limited = facts(range(8), cpu=[Limit("cgroup:/job", 4.0, "cgroup job")])
    assert [w.nthreads for w in plan([limited, limited])] == [2, 2]
    own = [facts(range(8), cpu=[Limit(f"cgroup:/task_{i}", 3.0, "")]) for i in range(2)]
    assert [w.nthreads for w in plan(own)] == [3, 3]


def test_threads_given_leave_the_rest_to_blas():
    workers = plan([facts(range(8))] * 2, nthreads=2)
    assert [(w.nthreads, w.blas_threads) for w in workers] == [(2, 2), (2, 2)]


def test_memory_of_a_node_is_divided_and_never_exceeded():
    workers = plan([facts(range(8))] * 4)
    assert sum(w.memory for w in workers) <= 64 * GIB
    assert {w.memory for w in workers} == {16 * GIB}


def test_scheduler_and_script_keep_a_reserve():
    world = [facts(range(8), total=20 * GIB)] * 4
    workers = plan(world, hosting=[False, False, True, True], serving=[True, True, False, False])
    assert [w.memory for w in workers] == [9 * GIB, 9 * GIB]


def test_the_tightest_limit_holds():
    job = Limit("cgroup:/job", 8 * GIB, "cgroup job")
    tasks = [Limit(f"cgroup:/job/task_{i}", 3 * GIB, "") for i in range(2)]
    assert [w.memory for w in plan([facts([0], memory=[job, task]) for task in tasks])] == [3 * GIB] * 2
    assert [w.memory for w in plan([facts([0], memory=[job])] * 4)] == [2 * GIB] * 4


def test_nodes_are_divided_each_for_itself():
    world = [facts(range(8)), facts(range(4), node="b"), facts(range(4), node="b")]
    assert [(w.nthreads, w.memory // GIB) for w in plan(world)] == [(8, 64), (2, 32), (2, 32)]


def test_roles_of_every_size_of_world():
    scheduler, client, worker = Role.SCHEDULER, Role.CLIENT, Role.WORKER
    assert assign(1, client=0) == [scheduler | client | worker]
    assert assign(2) == [scheduler | worker, client]
    assert assign(4) == [scheduler, client, worker, worker]
    assert assign(4, client=2, scheduler=3) == [worker, worker, client, scheduler]
    assert assign(3, client=2, scheduler=2) == [worker, worker, client | scheduler]
    assert assign(3, client=None) == [scheduler, worker, worker]
    assert assign(2, client=None, scheduler=None) == [worker, worker]
    assert assign(2, client=1, scheduler=None) == [worker, client]
    assert assign(1, client=0, scheduler=None) == [client | worker]
    assert assign(3, inclusive=True) == [scheduler | worker, client | worker, worker]
    assert str(scheduler | worker) == "scheduler+worker"


@pytest.mark.parametrize("roles", [{"client": 1}, {"client": 0, "scheduler": 1}, {"client": -1}])
def test_roles_need_ranks(roles):
    with pytest.raises(WorldTooSmallException, match=r"is to be on rank -?\d, but there is 1 rank\n"):
        assign(1, **roles)


def test_ranks_that_take_no_part_keep_their_share():
    """Two of the four ranks that an MPI job has on a node get half of it."""
    world = [dataclasses.replace(facts(range(8), total=64 * GIB), job_ranks=4)] * 2
    plans = plan(world)
    assert [w.nthreads for w in plans] == [2, 2]
    assert [w.memory for w in plans] == [16 * GIB, 16 * GIB]


def test_memory_may_be_a_part_of_the_nodes():
    assert [w.memory for w in plan([facts(range(8), total=64 * GIB)] * 2, memory=0.25)] == [16 * GIB] * 2
