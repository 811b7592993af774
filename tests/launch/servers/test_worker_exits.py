"""How it is said why a worker died."""

from __future__ import annotations

import asyncio
import os
import signal
from unittest import mock

import pytest
from distributed import Client, Scheduler

from mpidask.launch.servers.plugins import worker_exits
from mpidask.launch.servers.plugins.worker_exits import Postmortem, WatchedNanny, describe_exit


@pytest.mark.parametrize(
    ("exitcode", "more", "text"),
    [
        (-signal.SIGSEGV, {}, "signal 11 (SIGSEGV)"),
        (-77, {}, "signal 77"),
        (4, {}, "exit status 4"),
        (-signal.SIGKILL, {"oom": True}, "killed by the kernel: out of memory"),
        (-signal.SIGTERM, {"memory": 2**30, "limit": 2**30}, "it used 1.00 GiB of 1.00 GiB of memory"),
    ],
)
def test_causes_of_death(exitcode, more, text):
    assert describe_exit(exitcode, **more) == text


def played(tmp_path, script):
    """Return what a coroutine function returns, beside a scheduler with a postmortem and a worker with a nanny."""

    async def main():
        settings = {"dashboard": False, "dashboard_address": "127.0.0.1:0", "host": "127.0.0.1"}
        postmortem = Postmortem(1)
        async with (
            Scheduler(plugins=[postmortem], **settings) as scheduler,
            WatchedNanny(
                scheduler.address, name="w", nthreads=1, local_directory=str(tmp_path), dashboard=False
            ) as nanny,
        ):
            return await asyncio.wait_for(script(scheduler, nanny, postmortem), 60)

    with mock.patch.dict(os.environ):  # a nanny sets variables in its own process, which later tests would pass on
        return asyncio.run(main())


@pytest.mark.one_mpi
def test_a_worker_that_closes_as_it_is_told_is_not_waited_for(tmp_path, monkeypatch):
    """Its nanny has nothing to tell: the end of a run would be late."""
    monkeypatch.setattr(worker_exits, "_WORD", 3600.0)

    async def script(scheduler, nanny, postmortem):
        await nanny.close()
        while scheduler.workers:  # noqa: ASYNC110 - Dask has no event for it
            await asyncio.sleep(0.02)
        await asyncio.wait_for(postmortem.settle(), 30)
        return postmortem.deaths

    assert played(tmp_path, script) == {}


@pytest.mark.one_mpi
@pytest.mark.parametrize("settles_first", [True, False])
def test_a_worker_that_has_just_died_is_waited_for(tmp_path, monkeypatch, settles_first):
    tell = WatchedNanny._tell

    async def tell_late(nanny, message):
        await asyncio.sleep(0.3)
        await tell(nanny, message)

    monkeypatch.setattr(WatchedNanny, "_tell", tell_late)

    async def script(scheduler, nanny, postmortem):
        async with Client(scheduler.address, asynchronous=True, set_as_default=False) as client:
            future = client.submit(os._exit, 3, key="a-task")
            while scheduler.workers:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0)
            await (postmortem.settle() if settles_first else nanny.close())
            await postmortem.before_close()  # at once: what is told later is lost
            await future.cancel()
        return postmortem.deaths["w"]

    death = played(tmp_path, script)
    assert death.count == 1
    assert death.last.endswith("died: exit status 3; tasks it had: a-task"), death
