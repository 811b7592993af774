"""The page of a report, its values for programs, and the comparison of two."""

from __future__ import annotations

import json
import os
import re
from html.parser import HTMLParser

import pytest

from mpidask.errors import UsageError
from mpidask.report import comparison, quantity, record, start, timeline
from mpidask.report.output import Source, write
from mpidask.report.summary import NAMES, PARTS, summarize

pytestmark = pytest.mark.one_mpi

RUN = {
    "kind": "run",
    "version": 1,
    "t": 1000.0,
    "mpidask": "0.1",
    "program": ["flights.py", "<year>"],
    "job": "4711",
    "threads": 3,
    "cores": 4,
    "ranks": [{"rank": rank, "host": "n1", "role": "worker"} for rank in range(3)],
    "workers": {"1": 1, "2": 2},
    "nodes": ["n1"],
    "options": [["--nthreads", "2", "/etc/dask/mpidask.yaml, line 3"]],
    "versions": {"dask": "2026.8.0"},
}
UP = [
    {"kind": "up", "t": 1001.0, "name": name, "host": "n1", "threads": threads, "limit": 4 << 30}
    for name, threads in (("1", 1), ("2", 2))
]
DOWN = [
    {"kind": "down", "t": 1007.0, "name": "2"},
    {"kind": "died", "t": 1007.0, "name": "2", "what": "12:00:00 died: signal 9 (SIGKILL)"},
]
SAMPLES = [
    {"kind": "sample", "t": 1002.0, "since": 1001.0, "workers": {"1": [1 << 30, 0, 1, 1.0, 0.0, 0.0, 0.0, {}]}},
    {
        "kind": "sample",
        "t": 1004.0,
        "since": 1003.0,
        "workers": {
            "1": [2 << 30, 0, 0, 2.0, 0.5, 0.0, 0.0, {"load": 1.5, "add": 0.5}],
            "2": [1 << 30, 0, 0, 1.0, 0.0, 0.2, 0.3, {"load": 1.0}],
        },
    },
]
TOTALS = {
    "kind": "totals",
    "t": 1010.0,
    "capacity": 30.0,
    "parts": {"useful": 20.0, "few_tasks": 6.0, "transfer": 4.0},
    "bytes": {"spilled": 5 << 30, "received": 3 << 20},
    "tasks": 10,
    "kinds": [["load", 2.5, 8, "flights.py:7 in load: read(x < y)"], ["add", 0.5, 2, None]],
    "longest": [[1.5, "load-1", "1", 1001.0]],
    "peak": ["1", 2 << 30, 4 << 30],
    "busiest": 3,
    "first": 1001.0,
    "restarts": 1,
}
END = [{"kind": "end", "t": 1010.0}, {"kind": "exit", "t": 1011.0, "status": 0}]


@pytest.fixture
def kept(tmp_path):
    path = record.reserve(str(tmp_path))
    record.append(path, [RUN, *UP, *SAMPLES, *DOWN, TOTALS])
    return tmp_path


class Page(HTMLParser):
    """Collects texts and the addresses that a page would fetch; checks that elements are closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.texts, self.fetched = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.fetched += [value for name, value in attrs if name in ("src", "href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.fetched += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        self.texts.append(data.strip())


def test_the_page_has_all_and_needs_nothing(kept):
    accounted = {"wall": 10.5, "cpu": 20.0, "memory": float(2 << 30), "energy": 1234.0}
    path = write(Source(str(kept), "the walltime was reached", accounted), as_json=False, file=None)
    assert path == str(kept / "report.html")
    text = (kept / "report.html").read_text()
    page = Page(text)
    assert page.fetched == []
    assert not re.search(r"https?://|@import|url\(", text)
    for said in (
        "flights.py <year>",
        "The run was killed: the walltime was reached. What follows was known until then.",
        "flights.py:7 in load: read(x < y)",
        "load-1",
        "12:00:00 died: signal 9 (SIGKILL)",
        "/etc/dask/mpidask.yaml, line 3",
        "1234 J",
        *(NAMES[part] for part in PARTS),
    ):
        assert said in page.texts, said
    for scheme in ("prefers-color-scheme: dark", "@media print"):
        assert scheme in text


def test_a_run_that_has_ended_was_not_killed(kept):
    record.append(str(kept / "report.jsonl"), END)
    write(Source(str(kept)), as_json=False, file=str(kept / "other.html"))
    assert "was killed" not in (kept / "other.html").read_text()


@pytest.mark.parametrize(
    ("goes_on", "said", "line"),
    [
        (True, "The run has not ended. What follows is known up to now.", "20 % idle (too few tasks) so far"),
        (False, "The run was killed: its record has no end. What follows", "; the record ends there"),
        (None, "The record has no end: the run goes on, or was killed. What follows", "; the record ends there"),
    ],
)
def test_a_record_without_an_end_may_be_that_of_a_run_that_goes_on(kept, goes_on, said, line):
    source = Source(str(kept), goes_on=goes_on)
    write(source, as_json=False, file=None)
    assert said in (kept / "report.html").read_text()
    assert json.loads(write(source, as_json=True, file=None))["lines"][0].endswith(line)


@pytest.mark.parametrize(
    ("status", "said"), [(75, "The walltime ended the run (status 75)."), (3, "ended with status 3.")]
)
def test_how_the_run_ended_is_said(kept, status, said):
    record.append(str(kept / "report.jsonl"), [END[0], {**END[1], "status": status}])
    write(Source(str(kept)), as_json=False, file=None)
    assert said in (kept / "report.html").read_text()


def test_the_timeline_knows_who_did_what_when(kept):
    first, second = timeline.rows(record.read(str(kept / "report.jsonl")))
    assert (first.label, second.label) == ("rank 1, 1", "rank 2, 2")
    length = 10.0 / len(first.there)  # s of a cell
    assert sum(first.there) * length == pytest.approx(9, abs=0.1)
    assert sum(second.there) * length == pytest.approx(6, abs=0.1)
    spent = {name: sum(cells) * length for name, cells in first.bins.items()}
    assert spent["kind load"] == pytest.approx(1.5, abs=0.05)
    assert spent["kind add"] == pytest.approx(0.5, abs=0.05)
    assert spent["transfer"] == pytest.approx(0.5, abs=0.05)
    assert second.deaths == [pytest.approx(0.7)]
    assert sum(second.bins["spill"]) * length * 2 == pytest.approx(0.5, abs=0.05)
    assert [name for name, cells in first.bins.items() if any(cells[: int(0.9 / length)])] == []


STARTED = {**RUN, "listens": 1000.5, "ranks": [{"rank": 0, "host": "n1", "began": [998.0, 999.0]}]}
STARTED["ranks"] += [{"rank": rank, "host": "n2", "began": [998.5, 999.5]} for rank in (1, 2)]


def test_the_start_of_each_rank(tmp_path):
    """Where a clock is behind, or a worker has not come, there is a span less."""
    late = [{**UP[0], "t": 1004.0}]  # that the same worker came again changes nothing
    record.append(record.reserve(str(tmp_path)), [STARTED, UP[0], *late, {**UP[1], "t": 1000.4}, TOTALS])
    found = record.read(str(tmp_path / "report.jsonl"))
    server, first, second = start.rows(found)
    common = [("meet", 1.5, 2.0), ("scheduler", 2.0, 2.5)]
    assert server.spans == [("python", 0.0, 1.0), ("meet", 1.0, 2.0), common[1]]
    assert first.spans == [("python", 0.5, 1.5), *common, ("workers", 2.5, 3.0)]
    assert (second.label, second.spans) == ("rank 2, n2", [("python", 0.5, 1.5), *common])
    write(Source(str(tmp_path)), as_json=False, file=None)
    page = Page((tmp_path / "report.html").read_text())
    assert {"rank 2, n2", "options, and meeting the other ranks: 500 ms", "3.0 s"} <= set(page.texts)
    values = json.loads(write(Source(str(tmp_path)), as_json=True, file=None))
    assert values["start"][1] == {"label": "rank 1, n2", "spans": [list(span) for span in first.spans]}


def test_of_many_ranks_those_that_took_longest_to_start():
    ranks = [{"rank": rank, "host": "n1", "began": [990.0, 991.0]} for rank in range(100)]
    ups = [{**UP[0], "name": str(rank), "t": 1000.0 + rank % 50} for rank in range(100)]
    run = {**RUN, "ranks": ranks, "workers": {str(rank): rank for rank in range(100)}, "listens": 1000.0}
    shown = [int(row.label[5:].split(",")[0]) for row in start.rows(record.Record("", run, ups))]
    assert shown == sorted(shown)
    assert {rank % 50 for rank in shown} == set(range(26, 50))


def test_a_run_that_goes_on_was_not_killed(kept):
    write(Source(str(kept), goes_on=True), as_json=False, file=None)
    text = (kept / "report.html").read_text()
    assert "The run has not ended." in text
    assert "was killed" not in text


def test_a_worker_that_comes_back_begins_anew(tmp_path):
    def sample(moment, seconds):
        entry = [1 << 30, 0, 0, seconds, 0.0, 0.0, 0.0, {"load": seconds}]
        return {"kind": "sample", "t": moment, "since": moment - 1, "workers": {"1": entry}}

    path = record.reserve(str(tmp_path))
    down, again = {**DOWN[0], "t": 1003.0, "name": "1"}, {**UP[0], "t": 1004.004}
    samples = [sample(1002.0, 1.0), down, again, sample(1004.0, 0.5), sample(1005.0, 0.9)]
    record.append(path, [RUN, UP[0], *samples, TOTALS])
    (row,) = timeline.rows(record.read(path))
    assert sum(row.bins["kind load"]) * 10.0 / len(row.there) == pytest.approx(1.9, abs=0.01)


def test_kinds_that_have_not_changed_are_not_repeated(tmp_path):
    def sample(moment, computed, kinds):
        entry = [1 << 30, 0, 0, computed, 0.0, 0.0, 0.0, kinds]
        return {"kind": "sample", "t": moment, "since": moment - 1, "workers": {"1": entry}}

    samples = [(1002.0, 0.5, {"load": 0.5}), (1003.0, 1.0, {"add": 0.5}), (1004.0, 1.8, {"load": 1.3})]
    path = record.reserve(str(tmp_path))
    record.append(path, [RUN, UP[0], *(sample(*each) for each in samples), TOTALS])
    (row,) = timeline.rows(record.read(path))
    spent = {name: sum(cells) * 10.0 / len(row.there) for name, cells in row.bins.items()}
    assert spent["kind load"] == pytest.approx(1.3, abs=0.01)
    assert spent["kind add"] == pytest.approx(0.5, abs=0.01)


def test_of_many_workers_the_fullest_ones_are_drawn(tmp_path):
    entries = {f"w{number}": [number << 20, 0, 0, 0.0, 0.0, 0.0, 0.0, {}] for number in range(100)}
    path = record.reserve(str(tmp_path))
    ups = [{**UP[0], "name": name} for name in entries]
    record.append(path, [RUN, *ups, {"kind": "sample", "t": 1002.0, "since": 1001.0, "workers": entries}, TOTALS])
    write(Source(str(tmp_path)), as_json=False, file=None)
    drawn = re.findall(r'<polyline class="memory"[^>]*><title>(\w+)</title>', (tmp_path / "report.html").read_text())
    assert sorted(drawn) == sorted(f"w{number}" for number in range(36, 100))


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.0042, "4.2 ms"), (0.9994, "999 ms"), (0.9996, "1.0 s"), (12.34, "12.3 s"), (3723, "1:02:03")],
)
def test_times(seconds, said):
    assert quantity.duration(seconds) == said


def test_values_for_programs(kept):
    values = json.loads(write(Source(str(kept), None, {"wall": 10.5}), as_json=True, file=None))
    assert values["summary"]["shares"]["useful"] == pytest.approx(2 / 3, abs=0.001)
    assert values["advice"].startswith("workers wrote 5.0 GiB to disk")
    assert values["accounted"] == {"wall": 10.5}
    assert [event["kind"] for event in values["events"]] == ["up", "up", "down", "died"]
    assert not (kept / "report.html").exists()


def test_a_comparison(kept):
    first = summarize(record.read(str(kept / "report.jsonl")))
    record.append(str(kept / "report.jsonl"), [{**TOTALS, "t": 1020.0, "capacity": 60.0}])
    second = summarize(record.read(str(kept / "report.jsonl")))
    lines = [line.split() for line in comparison.lines(first, second, ("A", "B"))]
    assert lines[0] == ["A", "B"]
    assert ["wall", "time", "10.0", "s", "20.0", "s", "+100", "%"] in lines
    assert ["useful", "67", "%", "33", "%", "-33", "points"] in lines


def test_an_argument_that_is_no_text(tmp_path):
    path = record.reserve(str(tmp_path))
    record.append(path, [{**RUN, "program": ["s.py", os.fsdecode(b"caf\xe9.nc")]}, TOTALS])
    write(Source(str(tmp_path)), as_json=False, file=None)
    assert "s.py caf?.nc" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("path", ["/nowhere/report.jsonl", "."])
def test_where_there_is_no_record(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError):
        Source(path).record()


@pytest.mark.thorough
def test_in_a_browser(kept, browser):
    """On a wide and on a narrow screen, in light and in dark colours."""
    write(Source(str(kept)), as_json=False, file=None)
    browser.driver.get(f"file://{kept}/report.html")
    papers = set()
    for width in (1100, 420):
        for dark in (False, True):
            browser.show(width, 900, dark=dark)
            assert browser.overflow() <= 0
            assert len(browser.find("svg.chart")) == 3
            papers.add(browser.style("body", "backgroundColor"))
    assert papers == {"rgb(255, 255, 255)", "rgb(20, 24, 29)"}
    assert browser.errors() == []
