"""Lines and their fields."""

from __future__ import annotations

from datetime import timedelta

import pytest

from mpidask.batch.template import fill, named


def test_a_line_or_a_piece_of_one_is_left_out_when_a_field_is_not_set():
    lines = ("-q {queue}", ("-l nodes={nodes}", ":mem={memory:MiB}mb", ":gpus={gpus}"), "-t {time}")
    values = {"queue": None, "nodes": 2, "memory": 5 * 2**20 + 1, "gpus": None, "time": timedelta(seconds=3661)}
    assert fill(lines, values) == ["-l nodes=2:mem=6mb", "-t 01:01:01"]
    assert fill(lines, dict.fromkeys(values)) == fill(lines, dict.fromkeys(values, "")) == []
    assert named(lines) == set(values)


@pytest.mark.parametrize(
    ("unit", "text"), [("seconds", "3661"), ("minutes", "62"), ("HH:MM", "01:02"), ("", "01:01:01")]
)
def test_times_are_rounded_up(unit, text):
    line = f"{{time:{unit}}}" if unit else "{time}"
    assert fill([line], {"time": timedelta(seconds=3660.2)}) == [text]
