"""What a rank tells its watchdog."""

from __future__ import annotations

import contextlib
import os

import pytest

from mpidask.launch.watchdog import siblings, watch
from mpidask.launch.watchdog.watchdog import Watchdog


def test_a_watchdog_that_was_dismissed_gets_no_more_lines(tmp_path):
    """The program may have opened a file that has the pipe's number since."""
    reading, writing = os.pipe()
    watchdog = Watchdog(writing, "token")
    watchdog.dismiss()
    with open(tmp_path / "file", "wb") as file:
        os.dup2(file.fileno(), writing)
        watchdog.farewell()
        watchdog.end_within(3)
    assert os.read(reading, 100) == b"dismissed \n"
    os.close(reading)
    with contextlib.suppress(OSError):  # it may have been the file's own number
        os.close(writing)
    assert (tmp_path / "file").read_bytes() == b""


def test_a_launcher_is_behind_until_it_has_taken_note_of_those_that_ended(monkeypatch):
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert child in siblings._children(os.getpid())
    monkeypatch.setattr(siblings, "_children", lambda pid: [child])  # others' may be there, too
    assert siblings._is_behind(os.getpid())
    os.waitpid(child, 0)
    assert not siblings._is_behind(os.getpid())


class Ranks:
    """A launcher's ranks, as one of them sees them: how many there are at each look."""

    def __init__(self, speaks):
        self.speaks, self.most = lambda present: speaks, 0


@pytest.mark.parametrize(
    ("size", "counts", "speaks", "lost"),
    [
        (2, [2, 1], True, 4),
        (2, [2, 1], False, 32),
        (2, [1, 1], True, 12),
        (2, [1] * 10 + [2], True, None),
        (3, [1] * 10 + [2] * 8 + [3], True, None),
    ],
)
def test_a_rank_that_the_launcher_has_not_started_yet_has_time_to_come(monkeypatch, size, counts, speaks, lost):
    """One that has been there, and is gone, is lost soon."""
    own = watch.Watch(os.getpid(), os.getppid(), "token")
    own.sight = sight = Ranks(speaks)
    monkeypatch.setattr(watch, "local_size", lambda environ: size)
    monkeypatch.setattr(watch, "is_launcher", lambda pid: True)
    found = None
    for look in range(40):
        present = range(counts[min(look, len(counts) - 1)])
        sight.most = max(sight.most, len(present))
        if own._node_has_lost_a_rank(present):
            found = look
            break
    assert found == lost


def test_time_in_which_the_job_was_suspended_does_not_count():
    own = watch.Watch(os.getpid(), os.getppid(), "token")
    own.receive("end 100")
    before = own.deadline
    own.forgive(3.0)  # a busy machine
    assert own.deadline == before
    own.forgive(4000.0)
    assert own.deadline == before + 4000
