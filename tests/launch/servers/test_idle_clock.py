"""A scheduler that ends when it has nothing to do does not count its workers' start."""

from __future__ import annotations

import asyncio

import pytest
from distributed import Scheduler, Worker

from mpidask.launch.servers.plugins.idle_clock import IdleClock

pytestmark = pytest.mark.one_mpi


@pytest.mark.parametrize("wanted", [0, 2])
def test_the_clock_runs_once_the_workers_are_up_that_are_waited_for(tmp_path, wanted):
    async def start():
        settings = {"host": "127.0.0.1", "dashboard": False, "dashboard_address": "127.0.0.1:0"}
        made = Scheduler(idle_timeout="100 s", plugins=[IdleClock(wanted)], **settings)
        found = []
        async with made as scheduler:
            found.append(scheduler.idle_timeout)
            for number in range(3):
                worker = Worker(scheduler.address, local_directory=str(tmp_path), name=number, dashboard=False)
                async with worker:
                    found.append(scheduler.idle_timeout)
                    if number == 0:
                        async with Worker(scheduler.address, local_directory=str(tmp_path), dashboard=False):
                            found.append(scheduler.idle_timeout)
        return found

    assert asyncio.run(start()) == [None if wanted else 100] * 2 + [100] * 3


def test_a_worker_that_was_lost_meanwhile_had_come(tmp_path):
    async def start():
        settings = {"host": "127.0.0.1", "dashboard": False, "dashboard_address": "127.0.0.1:0"}
        found = []
        async with Scheduler(idle_timeout="100 s", plugins=[IdleClock(2)], **settings) as scheduler:
            for name in ("a", "a", "b"):
                async with Worker(scheduler.address, local_directory=str(tmp_path), name=name, dashboard=False):
                    found.append(scheduler.idle_timeout)
        return found

    assert asyncio.run(start()) == [None, None, 100]
