"""Measuring never hangs: a process that does is ended with all that it has started, and what it said until then counts."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from mpidask.doctor import bounded, examination, time_limit
from mpidask.doctor.bounded import BoundedProcess, Measured, results
from mpidask.doctor.finding import Finding, Level
from mpidask.doctor.measuring import measured
from mpidask.doctor.report import Report, as_json, read, text

pytestmark = pytest.mark.one_mpi

#: Starts a child in a session of its own, as daemons do, says one thing, and hangs, deaf to signals.
HANGS = """
import json, signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(json.dumps(["a", {"facts": {"pid": child.pid}}]), flush=True)
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
print('["b", {"fac', end="", flush=True)
time.sleep(600)
"""


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_what_hangs_is_ended_with_its_children():
    process = BoundedProcess([sys.executable, "-c", HANGS], 2.0)
    begun = time.monotonic()
    while process.has_ended is False:
        time.sleep(0.05)
    assert not process.ended_by_itself
    found = results(process, ["a", "b"])
    assert time.monotonic() - begun < 60
    pid = found["a"].facts["pid"] if found["a"].facts else None
    assert pid is None or not lives(pid)
    assert found["b"] == Measured(None, "no answer within 2 s", silent=True)


def test_ctrl_c_ends_what_measures(monkeypatch):
    started = []

    def measuring(names, root, seconds):
        code = HANGS if names == ["limits.memory"] else "pass"
        started.append(BoundedProcess([sys.executable, "-c", code], seconds))
        return started[-1]

    def interrupt(name, found):
        raise KeyboardInterrupt

    monkeypatch.setattr(examination, "measuring", measuring)
    monkeypatch.setattr(examination.os, "cpu_count", lambda: 2)
    with pytest.raises(KeyboardInterrupt):
        examination.examine([["limits.memory"], ["files.space"]], Path("/"), 60, interrupt)
    try:
        assert len(started) == 2
        assert not lives(started[0]._process.pid)
    finally:
        started[0]._process.kill()


def test_ctrl_c_ends_what_is_waited_for():
    class Interrupted(BoundedProcess):
        """One that is interrupted in the midst of waiting."""

        @property
        def has_ended(self):
            signal.raise_signal(signal.SIGALRM)
            return False

    process = Interrupted([sys.executable, "-c", HANGS], 60)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            process.wait()
        assert not lives(process._process.pid)
    finally:
        signal.signal(signal.SIGALRM, before)
        process._process.kill()


def test_what_dies_says_why():
    process = BoundedProcess([sys.executable, "-c", "import sys; sys.exit('the reason')"], 30.0)
    process.wait()
    assert results(process, ["a"])["a"] == Measured(None, "measuring ended with status 1: the reason")


def test_a_process_reads_what_it_is_given_and_no_disk_is_needed(monkeypatch):
    monkeypatch.setenv("TMPDIR", "/nowhere")
    process = BoundedProcess([sys.executable, "-c", "print(input()[::-1])"], 30.0, "abc\n")
    process.wait()
    assert process.end() == (0, "cba\n", "")


def test_a_process_knows_how_long_it_has(monkeypatch):
    code = "from mpidask.doctor.time_limit import within; print(within(1e6))"
    process = BoundedProcess([sys.executable, "-c", code], 30.0)
    process.wait()
    assert process.end() == (0, "24.0\n", "")
    monkeypatch.delenv(time_limit.ALARM, raising=False)
    assert time_limit.within(30.0) == time_limit.share(30.0)


def test_imports_that_take_too_long_are_a_finding(tmp_path, monkeypatch):
    """Not a probe that is ended and has found nothing."""
    (tmp_path / "distributed").mkdir()
    (tmp_path / "distributed" / "__init__.py").write_text("import time; time.sleep(600)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv(time_limit.ALARM, "1")
    assert measured("python.imports", Path("/")) == Measured({"seconds": [None], "error": "", "longest": 0.8})


def test_a_probe_that_fails_does_not_keep_the_others(monkeypatch):
    def measuring(names, root, seconds):
        lines = [
            json.dumps([name, {"facts": {"soft": None, "hard": None}}]) for name in names if name != "limits.memory"
        ]
        return BoundedProcess([sys.executable, "-c", f"print({chr(10).join(lines)!r})"], seconds)

    monkeypatch.setattr(examination, "measuring", measuring)
    shown = []
    groups = [["limits.open_files", "limits.memory"], ["files.space"]]
    found = examination.examine(groups, Path("/"), 60, lambda name, _: shown.append(name))
    assert sorted(shown) == sorted(found) == ["files.space", "limits.memory", "limits.open_files"]
    assert found["limits.open_files"].facts == {"soft": None, "hard": None}
    assert found["limits.memory"].trouble.startswith("measuring ended with status 0")


def test_what_there_is_no_time_for_is_said():
    found = examination.examine([["limits.memory"]], Path("/"), 0.0)
    assert found == {"limits.memory": Measured(None, "no time was left of 0 s")}


def test_modules_of_the_working_directory_are_not_taken_for_python_s(tmp_path):
    (tmp_path / "json.py").write_text("raise RuntimeError('not this one')")
    before = os.getcwd()
    os.chdir(tmp_path)
    try:
        process = bounded.measuring(["limits.open_files"], Path("/"), 60)
    finally:
        os.chdir(before)
    process.wait()
    assert results(process, ["limits.open_files"])["limits.open_files"].facts["hard"] != 0


def test_the_report_for_people_and_for_programs():
    found = (
        Finding(Level.OK, "64.0 GiB of memory", probe="limits.memory", where="n1"),
        Finding(Level.OK, "64.0 GiB of memory", probe="limits.memory", where="n2"),
        Finding(Level.WARNING, "slow", "faster\nor else", "network.links"),
        Finding(Level.FAILURE, "full", "make room", "files.space"),
    )
    report = Report("here", found, 4.2, "mpidask:")
    lines = text(report).splitlines()
    assert lines[1:6] == [
        "ok       memory           64.0 GiB of memory [n1, n2]",
        "warning  network          slow",
        "                  remedy: faster",
        "                  remedy: or else",
        "failure  space            full",
    ]
    assert lines[7] == "1 failure, 1 warning, 1 ok in 4 s"
    assert lines[-1] == "mpidask:"
    assert "\x1b[31mfailure\x1b[0m" in text(report, coloured=True)
    assert json.loads(as_json(report))["healthy"] is False
    assert read(as_json(report))[1][1:] == list(found[2:])
    assert (report.status, Report("here", found[:3], 1).status) == (1, 0)
