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
        async with await made as scheduler:
            found.append(scheduler.idle_timeout)
            for number in range(3):
                worker = Worker(scheduler.address, local_directory=str(tmp_path), name=number, dashboard=False)
                async with await worker:
                    found.append(scheduler.idle_timeout)
                    if number == 0:
                        async with await Worker(scheduler.address, local_directory=str(tmp_path), dashboard=False):
                            found.append(scheduler.idle_timeout)
        return found

    assert asyncio.run(start()) == [None if wanted else 100] * 2 + [100] * 3
