"""The protocol between ranks, run under mpirun: see test_protocol.py beside this folder."""

from __future__ import annotations

import asyncio
import time

import pytest
from mpi4py import MPI

from mpidask.errors import StartupError, UsageError
from mpidask.launch.comm.polling import End, WaitPolicy, wait, wait_async
from mpidask.launch.comm.wakeup import Arrivals
from mpidask.launch.comm.world import World


@pytest.fixture
def world():
    return World(MPI.COMM_WORLD.Dup())


@pytest.mark.mpi(min_size=3)
def test_share_hands_over_values_of_any_size(world):
    for root in range(world.size):
        for value in (None, "x", {"a": [1, 2]}, b"y" * 3_000_000):
            assert wait(world.share(value if world.rank == root else None, root)) == value


@pytest.mark.mpi(min_size=3)
def test_share_into_puts_bytes_where_they_are_wanted(world):
    for root in range(world.size):
        for size in (0, 1, 3_000_000):
            buffer = bytearray((b"y" if world.rank == root else b"n") * size)
            wait(world.share_into(buffer, root))
            assert bytes(buffer) == b"y" * size


class Counted:
    """Sleeps, and counts how often."""

    pause, growth = 0.05, 1.1

    def __init__(self):
        self.sleeps = 0

    def wait(self, seconds):
        self.sleeps += 1
        time.sleep(seconds)
        return False


@pytest.mark.mpi(min_size=3)
@pytest.mark.parametrize("what", ["share", "agree"])
def test_ranks_that_wait_for_a_late_one_look_less_and_less_often(world, what):
    """Else they take the cores that the late one needs."""
    late, counted = world.rank == 0, Counted()
    wait(world.meet())
    if late:
        time.sleep(1)
    steps = world.share("late" if late else None, 0) if what == "share" else world.agree(1, WaitPolicy(20))
    begun = time.monotonic()
    wait(steps, counted)
    assert late or counted.sleeps < 200 + (time.monotonic() - begun) / 0.05
    wait(world.meet())


@pytest.mark.mpi(min_size=3)
def test_agree_gives_every_rank_every_value(world):
    for turn in range(20):
        assert wait(world.agree(world.rank * turn, WaitPolicy(20))) == {rank: rank * turn for rank in range(world.size)}


@pytest.mark.mpi(min_size=3)
def test_all_know_how_to_wake_each_other(world):
    world.listen_for_wakeups("127.0.0.1")
    wait(world.meet())
    ringer = world.size - 1
    if world.rank == ringer:
        world.announce_end(3)
    else:
        assert world.wakeup.wait(20)
        assert wait(world.await_end()) == End(3, ringer)
    wait(world.meet())
    world.release()


class Noted(Arrivals):
    """Takes note of whether it was ever woken."""

    woken = False

    def wait(self, seconds):
        woken = super().wait(seconds)
        self.woken = self.woken or woken
        return woken


@pytest.mark.mpi(min_size=3)
@pytest.mark.parametrize("what", ["share", "agree"])
def test_ranks_that_something_depends_on_are_woken_while_the_run_starts(world, what):
    busy, late = (0, 1), world.size - 1
    world.listen_for_wakeups("127.0.0.1", busy)
    wait(world.meet())  # all addresses are known
    noted = Noted(world.wakeup)
    if world.rank == late:
        time.sleep(0.5)
    steps = world.share(1 if world.rank == late else None, late) if what == "share" else world.agree(1, WaitPolicy(20))
    wait(steps, noted)
    assert (noted.woken or noted.wait(0)) == (world.rank in busy)
    wait(world.meet())


@pytest.mark.mpi(min_size=3)
def test_a_loss_reaches_one_rank(world):
    if world.rank:
        world.report_loss([world.rank], 0)
    found = []
    while world.rank == 0 and len(found) < world.size - 1:
        found += [rank for what in world.losses() for rank in what]
    assert sorted(found) == (list(range(1, world.size)) if world.rank == 0 else [])
    wait(world.meet())


@pytest.mark.mpi(min_size=3)
def test_agree_in_an_event_loop_lets_the_loop_go_on(world):
    sent = []

    async def both():
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1
                if ticks == 11 and world.rank != 1:
                    sent.append(MPI.COMM_WORLD.isend(None, 1, 77))

        ticking = asyncio.ensure_future(tick())
        if world.rank == 1:  # which is late until the others have ticked
            for _ in range(world.size - 1):
                while not MPI.COMM_WORLD.iprobe(tag=77):  # noqa: ASYNC110 - MPI has no event for it
                    await asyncio.sleep(0.01)
                MPI.COMM_WORLD.recv(tag=77)
            while ticks < 11:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
        values = await wait_async(world.agree(world.rank, WaitPolicy(20)))
        ticking.cancel()
        return ticks, values

    ticks, values = asyncio.run(both())
    MPI.Request.waitall(sent)
    assert ticks > 10
    assert values == {rank: rank for rank in range(world.size)}


@pytest.mark.mpi(min_size=3)
@pytest.mark.parametrize("where", [0, 1, 2])
def test_an_error_on_one_rank_is_raised_on_all(world, where):
    error = StartupError("the disk is full", "empty it")
    with pytest.raises(StartupError, match=f"rank {where} on {world.host}: the disk is full") as caught:
        wait(world.agree(error if world.rank == where else 1, WaitPolicy(20)))
    assert caught.value.remedy == "empty it"
    with pytest.raises(UsageError, match=r"^no such script$"):
        wait(world.agree(UsageError("no such script") if world.rank == where else 1, WaitPolicy(20)))
    MPI.COMM_WORLD.Barrier()
    assert len(wait(world.agree(1, WaitPolicy(20)))) == world.size


@pytest.mark.mpi(min_size=3)
def test_who_is_missing_is_named(world):
    hosts = dict.fromkeys(range(world.size), "n017")
    MPI.COMM_WORLD.Barrier()
    if world.rank == 2:
        time.sleep(8)
    with pytest.raises(StartupError, match=r"1 of \d+ ranks did not come up within 3 s: rank 2 on n017"):
        wait(world.agree(1, WaitPolicy(3, hosts)))
    MPI.COMM_WORLD.Barrier()
    assert len(wait(world.agree(1, WaitPolicy(20)))) == world.size  # the late report is not taken for a new one


@pytest.mark.mpi(min_size=3)
def test_enough_ends_the_wait(world):
    MPI.COMM_WORLD.Barrier()
    if world.rank == 2:
        time.sleep(5)
    values = wait(world.agree(world.rank, WaitPolicy(20, enough=lambda up: len(up) == world.size - 1)))
    assert sorted(values) == [rank for rank in range(world.size) if rank != 2]
    MPI.COMM_WORLD.Barrier()


@pytest.mark.mpi(min_size=3)
def test_the_end_is_announced_with_its_status(world):
    for status in (0, 3, 255, None):
        if world.rank == 1:
            world.announce_end(status)
        else:
            end = wait(world.await_end())
            assert (end.status, end.sender) == (status, 1)
    MPI.COMM_WORLD.Barrier()
    assert world.ended() is None


@pytest.mark.mpi(min_size=3)
def test_waiting_does_not_burn_a_core(world):
    """Processor time of ranks that wait a second for one that is late."""
    MPI.COMM_WORLD.Barrier()
    before = time.process_time()
    if world.rank == 1:
        time.sleep(1)
    wait(world.agree(1, WaitPolicy(20)))
    assert time.process_time() - before < 0.2


@pytest.mark.mpi(min_size=3)
def test_meeting_to_end_has_a_deadline(world):
    MPI.COMM_WORLD.Barrier()
    if world.rank == 1:
        time.sleep(4)
        assert wait(world.meet(20))
    else:
        assert not wait(world.meet(0.1))
        assert MPI.COMM_WORLD.Get_size() == world.size
    MPI.COMM_WORLD.Barrier()


@pytest.mark.mpi(min_size=3)
def test_an_error_elsewhere_is_learnt_before_the_own_value_is_there(world):
    class Never:
        def done(self):
            return False

        def result(self):
            raise AssertionError

    with pytest.raises(StartupError, match=r"rank 1 on .*: no"):
        wait(world.agree(StartupError("no") if world.rank == 1 else Never(), WaitPolicy(20)))
    MPI.COMM_WORLD.Barrier()
    assert len(wait(world.agree(1, WaitPolicy(20)))) == world.size


@pytest.mark.mpi(min_size=4)
def test_a_world_of_some_ranks_leaves_the_others_alone():
    """Two halves side by side, each with a communicator of its own, which is given back."""
    half = MPI.COMM_WORLD.Split(MPI.COMM_WORLD.rank % 2)
    for _ in range(3):
        world = World.of(half)
        assert not world.whole
        assert wait(world.agree(world.rank, WaitPolicy(20))) == {rank: rank for rank in range(half.size)}
        assert wait(world.meet(20))
        world.release()
    assert World.of(MPI.COMM_WORLD).whole
    assert MPI.COMM_WORLD.allreduce(1) == MPI.COMM_WORLD.size


@pytest.mark.mpi(min_size=3)
def test_a_late_rank_is_waited_for_asleep():
    MPI.COMM_WORLD.Barrier()
    before = time.process_time()
    if MPI.COMM_WORLD.rank == 1:
        time.sleep(1)
    World.of(None)
    assert time.process_time() - before < 0.2
