"""Clusters on batch systems that cannot be had here: stand-ins for their commands, jobs that really run."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest
from machines import Machine

pytestmark = pytest.mark.one_mpi

HERE = Path(__file__).parent
COMMANDS = {
    "lsf": ("bsub", "bjobs", "bkill"),
    "moab": ("msub", "showq", "mjobctl"),
    "htcondor": ("condor_submit", "condor_q", "condor_history", "condor_rm"),
    "flux": ("flux",),
    "pbs": ("qsub", "qstat", "qdel"),
}


@pytest.fixture(params=COMMANDS)
def machine(request):
    with tempfile.TemporaryDirectory(prefix="mpidask-test-") as name:
        directory = Path(name)
        for place in ("bin", "standin"):
            (directory / place).mkdir()
        for command in COMMANDS[request.param]:
            text = f"#!{sys.executable}\n{(HERE.parent / 'batch' / 'standin.py').read_text()}"
            (directory / "bin" / command).write_text(text)
            (directory / "bin" / command).chmod(0o755)
        lent = Machine(request.param, directory, sys.executable, f"{directory}/bin:/usr/bin:/bin", user=None)
        lent.environment = {"STANDIN": f"{directory}/standin", "PBS_O_WORKDIR": name}
        yield lent
        lent.clean_up()


def test_with_stand_ins(machine):
    script = machine.file("scenarios.py", (HERE / "scenarios.py").read_text())
    done = machine.run(machine.python, script, "with_stand_ins", machine.name, timeout=150)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert machine.left_over() == []
