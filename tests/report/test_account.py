"""What threads were there for: causes at a moment, and the sum, which is the whole."""

from __future__ import annotations

import pytest

from mpidask.report.account import Account, Measured, Situation, WorkerLoad, causes, split

pytestmark = pytest.mark.one_mpi


@pytest.mark.parametrize(
    ("now", "found"),
    [
        (Situation(4), {"workers": 4}),
        (Situation(4, [WorkerLoad(2, 0)]), {"workers": 2, "script": 2}),
        (Situation(4, [WorkerLoad(2, 1), WorkerLoad(2, 0)]), {"workers": 0, "few_tasks": 3}),
        (Situation(4, [WorkerLoad(2, 5), WorkerLoad(2, 0)]), {"workers": 0, "stragglers": 2}),
        (Situation(4, [WorkerLoad(2, 1), WorkerLoad(2, 0)], overlong=True), {"workers": 0, "stragglers": 3}),
        (Situation(4, [WorkerLoad(2, 1), WorkerLoad(2, 2)], queued=True), {"workers": 0, "scheduler": 1}),
        (Situation(4, [WorkerLoad(2, 0, paused=True), WorkerLoad(2, 2)], queued=True), {"workers": 0, "spill": 2}),
        (Situation(4, [WorkerLoad(2, 0)], unrunnable=True), {"workers": 2, "unrunnable": 2}),
        (Situation(2, [WorkerLoad(2, 2), WorkerLoad(2, 2)]), {"workers": 0}),
    ],
)
def test_why_threads_have_no_task(now, found):
    assert causes(now) == found


def account(*times):
    made = Account()
    for now, seconds in times:
        made.note(now, seconds)
    return made


FULL = Situation(4, [WorkerLoad(4, 9)])
HALF = Situation(4, [WorkerLoad(4, 2)])


@pytest.mark.parametrize(
    "measured",
    [
        Measured(),
        Measured(compute=20),
        Measured(compute=30, gil=10, lost=5),
        Measured(compute=20, transfer=8, spill=3, serialize=1),
        Measured(compute=20, transfer=80, spill=30, serialize=10),
        Measured(compute=39),
        Measured(compute=50, gil=60, lost=70),
    ],
)
def test_the_parts_make_up_the_whole(measured):
    made = account((Situation(4), 2), (FULL, 5), (HALF, 3))
    parts = split(made, measured)
    assert made.capacity == 40
    assert sum(parts.values()) == pytest.approx(40)
    assert min(parts.values()) >= 0


def test_what_is_measured_counts_for_more_than_what_was_seen():
    """Between two looks short tasks come and go."""
    parts = split(account((HALF, 10)), Measured(compute=36))
    assert parts["useful"] == 36
    assert parts["few_tasks"] == pytest.approx(4)


def test_what_is_left_of_threads_with_a_task_is_the_schedulers():
    parts = split(account((FULL, 10)), Measured(compute=20, transfer=5))
    assert (parts["useful"], parts["transfer"], parts["scheduler"]) == (20, 5, 15)


def test_the_peak_leaves_out_a_moment():
    assert account((HALF, 100), (FULL, 1)).peak == 2
    assert account((HALF, 50), (FULL, 50)).peak == 4
    assert account((Situation(4), 50)).peak == 0
