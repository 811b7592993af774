"""What docs/jobqueue.md says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from machines import borrowed

from mpidask.jobqueue.keywords import table

pytestmark = pytest.mark.one_mpi

TEXT = (Path(__file__).parents[3] / "docs" / "jobqueue.md").read_text()


def test_the_example_runs():
    code, printed = re.search(r"## A first example.*?```python\n(.*?)```\n\n```\n(.*?)```", TEXT, re.DOTALL).groups()
    with borrowed("local") as machine:
        done = machine.run(machine.python, machine.file("example.py", code), timeout=100)
        assert done.returncode == 0, done
        assert re.sub(r"\d{3,}", "N", done.stdout) == re.sub(r"\d{3,}", "N", printed), done
        assert machine.left_over() == []


def test_every_keyword_has_its_row():
    rows = dict(
        re.findall(r"^\| `(\w+)` \| .*? \| (.*?) \| .*? \|$", TEXT.split("Those of the jobs.")[1], re.MULTILINE)
    )
    assert rows == {each.name: each.help for each in table.KEYWORDS.values()}
