"""Clusters on batch systems that cannot be had here: stand-ins for their commands, jobs that really run."""

from __future__ import annotations

from pathlib import Path

import pytest
from machines import STOOD_IN, stood_in
from selection import some

pytestmark = pytest.mark.one_mpi

SCENARIOS = Path(__file__).parents[1] / "scenarios.py"


@pytest.mark.thorough
@pytest.mark.parametrize("name", some(STOOD_IN, ["lsf"]))
def test_with_stand_ins(name):
    with stood_in(name) as machine:
        script = machine.file("scenarios.py", SCENARIOS.read_text())
        done = machine.run(machine.python, script, "with_stand_ins", machine.name, timeout=150)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        assert machine.left_over() == []
