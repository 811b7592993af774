"""`mpidask report`: of a directory, of two, and of a job."""

from __future__ import annotations

import json

import pytest

from mpidask import cli
from mpidask.report import record

pytestmark = pytest.mark.one_mpi


@pytest.fixture
def kept(tmp_path):
    (tmp_path / "kept").mkdir()
    path = record.reserve(str(tmp_path / "kept"))
    run = {"kind": "run", "version": 1, "t": 1000.0, "threads": 1, "workers": {"0": 0}}
    totals = {"kind": "totals", "t": 1010.0, "capacity": 10.0, "parts": {"useful": 10.0}}
    record.append(path, [run, totals, {"kind": "end", "t": 1010.0}])
    return str(tmp_path / "kept")


def run(*words):
    with pytest.raises(SystemExit) as end:
        cli.main(["report", *words])
    return end.value.code


def test_of_a_directory(kept, capsys):
    assert run(kept) == 0
    assert capsys.readouterr().out == f"{kept}/report.html\n"
    assert run(kept, "--json") == 0
    assert json.loads(capsys.readouterr().out)["summary"]["shares"]["useful"] == 1.0


def test_of_two(kept, capsys):
    assert run(kept, f"{kept}/report.jsonl") == 0
    assert "useful" in capsys.readouterr().out
    assert run(kept, kept, "--json") == 0
    assert set(json.loads(capsys.readouterr().out)) == {"first", "second"}
    assert run(kept, kept, kept) == 2
    assert "more than two" in capsys.readouterr().err


def test_where_there_is_none(tmp_path, capsys):
    assert run(str(tmp_path)) == 2
    assert "there is no record of a run in" in capsys.readouterr().err
