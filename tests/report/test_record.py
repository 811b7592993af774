"""The file of a record: what is read of it, also where its writer was killed."""

from __future__ import annotations

import json
import os
import threading

import pytest

from mpidask.errors import UsageError
from mpidask.report import closing, record
from mpidask.report.summary import summarize

pytestmark = pytest.mark.one_mpi

RUN = {"kind": "run", "version": 1, "t": 1000.0, "threads": 4, "cores": 4, "workers": {"0": 0, "1": 1}}
TOTALS = {
    "kind": "totals",
    "t": 1010.0,
    "capacity": 40.0,
    "parts": {"useful": 30.0, "few_tasks": 6.0, "transfer": 4.0},
    "bytes": {"spilled": 0, "received": 3 << 20},
    "tasks": 10,
    "kinds": [["add", 30.0, 10, None]],
    "longest": [[4.0, "add-1", "0", 1001.0]],
    "peak": ["0", 1 << 30, 4 << 30],
    "busiest": 4,
    "first": 1001.0,
    "restarts": 1,
}


def written(directory, *lines):
    directory.mkdir(exist_ok=True)
    path = record.reserve(str(directory))
    record.append(path, lines)
    return path


def test_a_second_run_has_a_file_of_its_own(tmp_path):
    paths = [record.reserve(str(tmp_path)) for _ in range(11)]
    assert record.find(str(tmp_path)) == paths
    assert paths[1].endswith("report.1.jsonl")


def test_the_last_totals_count_and_half_a_line_does_not(tmp_path):
    path = written(tmp_path, RUN, {**TOTALS, "t": 1005.0}, TOTALS)
    with open(path, "a") as file:
        file.write('{"kind":"totals","t":10')
    for found in (record.read(path), record.read_brief(path)):
        assert found.totals["t"] == 1010.0
        assert found.end is None
        assert not summarize(found).complete


def test_a_large_file_is_read_at_its_ends(tmp_path):
    path = written(tmp_path, RUN, *[{"kind": "sample", "t": 1.0, "workers": {"0": [0] * 500}}] * 1000, TOTALS)
    brief = record.read_brief(path)
    assert brief.run["threads"] == 4
    assert brief.totals == TOTALS
    assert len(brief.samples) < len(record.read(path).samples) == 1000


@pytest.mark.parametrize("lines", [[], [TOTALS], [{**RUN, "version": 99, "mpidask": "9.9"}]])
def test_what_cannot_be_read_is_said(tmp_path, lines):
    with pytest.raises(UsageError):
        record.read(written(tmp_path, *lines))
    assert record.newest(str(tmp_path)) is None


def test_a_run_that_was_killed_before_it_began_hides_no_other(tmp_path):
    written(tmp_path, RUN, TOTALS)
    record.reserve(str(tmp_path))
    assert record.newest(str(tmp_path)).run == RUN


def test_closing_lines(tmp_path):
    path = written(tmp_path, RUN, TOTALS, {"kind": "end", "t": 1010.0}, {"kind": "exit", "t": 1011.0, "status": 0})
    found = record.read(path)
    assert found.status == 0
    assert closing.closing_lines(found) == [
        "10.0 s, 0.011 core-hours, 75 % of them useful, 15 % idle (too few tasks)",
        "memory up to 1.0 GiB of 4.0 GiB (25 %) per worker, 0 B spilled, 3.0 MiB transferred, 1 restart",
        "advice: there were too few tasks for 4 threads, for 15 % of the time: make chunks smaller, or ask for fewer "
        "nodes",
    ]


def test_a_summary_is_for_programs_too(tmp_path):
    told = summarize(record.read(written(tmp_path, RUN, TOTALS))).to_json()
    assert json.loads(json.dumps(told)) == told
    assert told["shares"]["useful"] == 0.75
    assert told["peak_memory"] == {"worker": "0", "bytes": 1 << 30, "limit": 4 << 30}


def test_a_directory_that_is_gone_does_not_keep_a_writer_from_ending(tmp_path):
    path = written(tmp_path / "gone", RUN)
    writer = record.Writer(path)
    (tmp_path / "gone" / "report.jsonl").unlink()
    (tmp_path / "gone").rmdir()
    writer.write([TOTALS])
    writer.close()
    assert not (tmp_path / "gone").exists()


def test_an_unfinished_line_takes_no_other_with_it(tmp_path):
    """A full disk may have left it."""
    path = written(tmp_path, RUN, TOTALS)
    with open(path, "a") as file:
        file.write('{"kind":"totals","t":10')
    record.append(path, [{"kind": "exit", "t": 1011.0, "status": 3}])
    assert record.read(path).status == 3


def test_a_file_system_that_hangs_takes_little_memory(tmp_path, monkeypatch):
    path, goes_on = written(tmp_path, RUN), threading.Event()
    append = record.append

    def hanging(*given):
        goes_on.wait(60)
        return append(*given)

    monkeypatch.setattr(record, "append", hanging)
    monkeypatch.setattr(record, "_CLOSE", 60.0)
    sample = {"kind": "sample", "t": 1.0, "workers": {str(number): [0] for number in range(1000)}}
    writer = record.Writer(path)
    for _ in range(200):
        writer.write([sample])
    goes_on.set()
    writer.close()
    assert 40 < len(record.read(path).samples) < 60
    assert 0 < writer.written < os.path.getsize(path)
