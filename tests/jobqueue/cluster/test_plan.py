"""Which jobs a cluster wants, and how an Adaptive of Dask's or a user's asks for them; pure."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from distributed.deploy.adaptive import Adaptive

from mpidask.jobqueue import SLURMJob
from mpidask.jobqueue.cluster import adaptive
from mpidask.jobqueue.cluster.plan import Plan

pytestmark = pytest.mark.one_mpi


@pytest.fixture
def plan():
    numbers = itertools.count()
    return Plan(lambda group: {f"{group or 'w'}-{(number := next(numbers))}": {"of": group, "number": number}})


def test_jobs_without_workers_go_first_the_youngest_of_them(plan):
    plan.resize(5, None, lambda name: 0)
    assert list(plan.jobs) == ["w-0", "w-1", "w-2", "w-3", "w-4"]
    plan.resize(2, None, lambda name: int(name in ("w-1", "w-3")))
    assert list(plan.jobs) == ["w-1", "w-3"]
    plan.resize(1, None, lambda name: 1)
    assert list(plan.jobs) == ["w-1"]
    plan.resize(2, None, lambda name: 1)
    assert list(plan.jobs) == ["w-1", "w-5"], "no name is used twice"


def test_groups_are_wanted_apart(plan):
    plan.resize(2, None, lambda name: 0)
    plan.resize(1, "big", lambda name: 0)
    assert (plan.names(None), plan.names("big")) == (["w-0", "w-1"], ["big-2"])
    plan.want_again(plan.lose("big-2"), 1)
    assert (plan.lost(None), plan.lost("big")) == (0, 1)
    plan.resize(0, None, lambda name: 0)
    assert plan.replace() == {"big-3": {"of": "big", "number": 3, "restarts": 1}}
    assert list(plan.jobs) == ["big-3"]


def test_what_has_ended_is_replaced_until_it_is_given_up(plan):
    plan.resize(3, None, lambda name: 0)
    for name in ("w-0", "w-1", "w-2"):
        plan.want_again(plan.lose(name), 1)
    assert plan.lose("w-0") is None
    first = plan.replace(1)
    assert list(first) == ["w-3"] == list(plan.jobs)
    plan.put_back(first)
    assert not plan.jobs and plan.lost(None) == 3
    plan.give_up()
    assert plan.replace() == {}


def test_a_new_size_replaces_nothing_that_has_ended(plan):
    plan.resize(2, None, lambda name: 0)
    plan.want_again(plan.lose("w-0"), 1)
    plan.resize(2, None, lambda name: 0)
    assert list(plan.jobs) == ["w-1", "w-2"] and not plan.missing


def test_limits_in_cores_and_memory_are_limits_in_workers():
    spec = SLURMJob("tcp://10.0.0.1:8786", "w-0", cores=8, memory="16GiB", processes=4).spec
    assert (spec.threads, spec.memory_limit) == (2, "4.00GiB")
    given = {
        "minimum": 1,
        "minimum_cores": 3,
        "maximum": 9,
        "maximum_cores": 11,
        "maximum_memory": "13GiB",
        "interval": 1,
    }
    assert adaptive.limits_in_workers(given, spec) == {"minimum": 2, "maximum": 3, "interval": 1}
    assert adaptive.limits_in_workers({"minimum": 5}, spec) == {"minimum": 5}


def test_it_is_known_when_an_adaptive_asks():
    asked = []

    class Mine(Adaptive):
        async def adapt(self):
            asked.append(adaptive.is_adapting())

    mine = adaptive.telling(Mine)(None)
    asyncio.run(mine.adapt())
    assert asked == [True] and isinstance(mine, Mine)
    assert not adaptive.is_adapting()
    assert adaptive.telling(adaptive.JobAdaptive) is adaptive.JobAdaptive
