"""A cluster that has nothing to do costs next to nothing, and is all there when it has."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from pathlib import Path

import pytest
from distributed import metrics
from distributed.core import Server
from harness import marked, read

from mpidask.compat.rest import Rest
from mpidask.launch.comm.polling import wait, wait_async
from mpidask.launch.comm.wakeup import ADDRESS_SIZE, Arrivals, WakeupSocket

pytestmark = pytest.mark.one_mpi

RESTED = 9  # s after the last task in which every server has come to rest, on a slow machine too
SHARE = 0.04  # of a core, all processes of eight ranks together; Dask's alone take a third

SCRIPT = """
import time
from distributed import Client, get_worker
client = Client()
client.wait_for_workers({workers})

def spin(seconds):
    end = time.thread_time() + seconds  # how often a task is profiled in a second of its own does not depend on others
    while time.thread_time() < end:
        pass

def until(look, wanted):
    deadline = time.monotonic() + 60
    while (now := look()) != wanted and time.monotonic() < deadline:
        time.sleep(0.1)
    return now

def callbacks(dask_worker=None, dask_scheduler=None):
    server = dask_worker or dask_scheduler
    return {{name: callback.callback_time for name, callback in server.periodic_callbacks.items()}}

def of_nanny():
    return next(iter(client.run(callbacks, nanny=True).values()))

client.submit(spin, 0.1).result()
time.sleep({rest})
"""


def cpu(pid):
    """Return the CPU seconds of a process's threads."""
    return sum(int(task.read_text().split()[0]) for task in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


@pytest.mark.thorough
@pytest.mark.slow("until all servers are at rest, and 20 s of rest")
def test_an_idle_cluster_uses_next_to_no_cpu(ranks):
    script = "import time\nfrom distributed import Client\nClient().wait_for_workers(6)\nprint('up', flush=True)\n"
    run = ranks.start(8, "--nthreads", "1", "--no-dashboard", ranks.script(script + "time.sleep(600)"))
    run.wait_for("up", timeout=60)
    time.sleep(RESTED)
    processes = [pid for pid in marked(run.mark) if pid != run.process.pid]
    before, begun = {pid: cpu(pid) for pid in processes}, time.monotonic()
    time.sleep(20)
    passed = time.monotonic() - begun
    used = {f"{pid} {read(pid, 'cmdline')[:60]!r}": (cpu(pid) - before[pid]) / passed for pid in processes}
    run.kill()
    assert len(processes) > 8
    assert sum(used.values()) < SHARE, used


@pytest.mark.slow("until all servers are at rest")
def test_everything_is_back_when_a_task_begins_after_a_long_rest(ranks):
    script = (
        SCRIPT.format(workers=1, rest=RESTED)
        + """
def at_rest():
    return of_nanny()["memory_monitor"], client.run_on_scheduler(callbacks)["monitor"]

print("rest", *until(at_rest, (2000.0, 2000.0)))
future = client.submit(spin, 2.0, key="work-1")
print("work", until(lambda: of_nanny()["memory_monitor"], 100.0), client.run_on_scheduler(callbacks)["idle-timeout"])
future.result()
inside = client.submit(lambda: {name: each.is_running() for name, each in get_worker().periodic_callbacks.items()})
print("running", all(inside.result().values()), sorted(name for name, each in inside.result().items() if not each))
print("samples", client.profile(key="work")["count"])
"""
    )
    result = ranks(3, "--nthreads", "1", ranks.script(script))
    assert result.status == 0, result
    lines = dict(line.split(" ", 1) for line in result.stdout.splitlines())
    assert lines["rest"] == "2000.0 2000.0", result
    assert lines["work"].startswith("100.0 "), result  # Dask's: it is to act before the kernel does
    assert lines["running"] == "True []", result
    assert int(lines["samples"]) > 30, result  # in 2 s there are 200 at most, fewer on a busy machine


@pytest.mark.thorough
@pytest.mark.slow("until all servers are at rest")
def test_what_a_worker_does_at_rest_it_does_as_before(ranks):
    """Its clock is that of a worker that is awake, and an event loop that stands still is noticed."""
    script = (
        SCRIPT.format(workers=1, rest=RESTED)
        + """
def observed(dask_worker):
    return dask_worker._tick_interval_observed

def longest(dask_worker):
    return dask_worker.digests_max["tick-duration"]

print("observed", *client.run(observed).values())
client.run(time.sleep, 3.5)
time.sleep(0.5)
print("longest", *client.run(longest).values())
"""
    )
    result = ranks(3, "--nthreads", "1", ranks.script(script))
    assert result.status == 0, result
    lines = dict(line.split(" ", 1) for line in result.stdout.splitlines())
    assert float(lines["observed"]) < 1.0, result
    assert float(lines["longest"]) > 3.0, result


def test_a_rest_is_not_taken_for_an_event_loop_that_stands_still():
    async def ticks():
        server = Server({})
        server.start_periodic_callbacks()
        rest = Rest(server, lambda: False)
        rest._rest()
        server._last_tick = metrics.time() - 1.9  # the last of those that come every two seconds
        rest.touch()
        server._measure_tick()
        await server.close()
        return server.digests_max["tick-duration"]

    assert asyncio.run(ticks()) < 1.0


def test_names_of_what_rests_are_those_of_dask(ranks):
    script = (
        SCRIPT.format(workers=1, rest=0)
        + """
from mpidask.compat import rest
known = {*client.run_on_scheduler(callbacks), *of_nanny(), *next(iter(client.run(callbacks).values()))}
print({*rest._RARELY, *rest._NEVER} - known)
"""
    )
    result = ranks(3, "--nthreads", "1", ranks.script(script))
    assert result.status == 0, result
    assert result.stdout.split() == ["set()"], result


@pytest.mark.thorough
def test_what_the_user_has_configured_stays(ranks):
    script = (
        SCRIPT.format(workers=1, rest=0)
        + """
def told(dask_worker):
    import dask.config
    return dask.config.get("distributed.worker.profile.interval"), callbacks(dask_worker)["profile"]
print(*next(iter(client.run(told).values())), of_nanny()["memory_monitor"])
"""
    )
    name = ranks.script(script)
    theirs = {
        "DASK_DISTRIBUTED__WORKER__PROFILE__INTERVAL": "50ms",
        "DASK_DISTRIBUTED__WORKER__MEMORY__MONITOR_INTERVAL": "200ms",
    }
    result = ranks(3, "--nthreads", "1", name, environ=theirs)
    assert result.status == 0, result
    assert result.stdout.split() == ["50ms", "50.0", "200.0"], result
    result = ranks(3, "--nthreads", "1", name)
    assert result.stdout.split() == ["1000ms", "10.0", "100.0"], result  # tasks are profiled as often as ever


@pytest.mark.thorough
@pytest.mark.slow("until all servers are at rest")
def test_a_user_who_calls_a_function_or_an_actor_wakes_its_worker(ranks):
    script = (
        SCRIPT.format(workers=1, rest=RESTED)
        + """
print(next(iter(client.run(callbacks).values()))["memory_monitor"])
"""
    )
    result = ranks(3, "--nthreads", "1", ranks.script(script))
    assert result.stdout.split() == ["100.0"], result


# ------------------------------------------------------------------------------ the wake-up


@pytest.fixture
def sockets():
    """Return a function that makes such a socket, which does not look on its own within a test."""
    with contextlib.ExitStack() as stack:

        def make(address="127.0.0.1"):
            wakeup = stack.enter_context(contextlib.closing(WakeupSocket(address)))
            wakeup.pause = 600.0
            return wakeup

        yield make


class Telling:
    """A wakeup that tells how long each sleep is to be, and is woken in some of them."""

    pause, growth = 4.0, 1.5

    def __init__(self, *woken):
        self.woken, self.sleeps = woken, []

    def wait(self, seconds):
        self.sleeps.append(seconds)
        return len(self.sleeps) in self.woken

    async def wait_async(self, seconds):
        return self.wait(seconds)


def looks(number, *moving):
    """A step that looks so many times; in some of them it has come further."""
    for each in range(1, number + 1):
        yield each in moving
    return "seen"


@pytest.mark.parametrize("run", [wait, lambda *words: asyncio.run(wait_async(*words))], ids=["wait", "wait_async"])
def test_sleeps_grow_until_something_moves_or_the_bell_is_rung(run):
    wakeup = Telling(300)
    assert run(looks(600, 200), wakeup) == "seen"
    shortest = wakeup.sleeps[0]
    assert [number for number, each in enumerate(wakeup.sleeps, 1) if each == shortest] == [1, 200, 301]
    assert wakeup.sleeps[198] == wakeup.sleeps[-1] == wakeup.pause


def test_without_a_bell_nobody_oversleeps(monkeypatch):
    sleeps = []
    monkeypatch.setattr(time, "sleep", sleeps.append)
    assert wait(looks(100)) == "seen"
    for number in range(1, 100):
        assert sleeps[number] < 0.11 * sum(sleeps[:number]) + 2 * sleeps[0]
    assert sleeps[-1] == 0.05


def test_a_datagram_wakes_a_rank(sockets):
    wakeup, answers = sockets(), []
    waiting = threading.Thread(target=lambda: answers.append(wakeup.wait(600)), daemon=True)
    waiting.start()
    sockets().wake(bytes(ADDRESS_SIZE) + wakeup.address)
    waiting.join(20)
    assert answers == [True]


def test_a_datagram_wakes_an_event_loop(sockets):
    wakeup = sockets()

    async def waits():
        waiting = asyncio.ensure_future(wakeup.wait_async(600))
        await asyncio.sleep(0.1)
        sockets().wake(wakeup.address)
        return await asyncio.wait_for(waiting, 20)

    assert asyncio.run(waits())


def test_an_arrival_that_nobody_reads_wakes_once():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        arrivals = Arrivals(ours)
        assert not arrivals.wait(0.01)
        for arrive in (lambda: theirs.send(b"x"), lambda: theirs.send(b"y"), arrivals.tell, theirs.close):
            arrive()
            assert arrivals.wait(20)
            assert not arrivals.wait(0.01)


def test_an_arrival_wakes_an_event_loop():
    ours, theirs = socket.socketpair()

    async def waits():
        arrivals = Arrivals(ours)
        for arrive in (lambda: theirs.send(b"x"), lambda: theirs.send(b"y"), arrivals.tell):
            asyncio.get_running_loop().call_later(0.05, arrive)
            assert await asyncio.wait_for(arrivals.wait_async(600), 20)
            assert not await arrivals.wait_async(0.01)

    with ours, theirs:
        asyncio.run(waits())


def test_who_does_not_know_the_secret_wakes_nobody(sockets):
    wakeup = sockets()
    port = int.from_bytes(wakeup.address[4:6], "big")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(b"12345678", ("127.0.0.1", port))
    assert not wakeup.wait(10)
    sockets().wake(wakeup.address)
    assert wakeup.wait(10)


def test_an_address_that_is_not_ours_is_no_error(sockets):
    wakeup = sockets("192.0.2.1")
    assert wakeup.address == bytes(ADDRESS_SIZE)
    wakeup.wake(wakeup.address)
