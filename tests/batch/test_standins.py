"""From submission to the end on batch systems that cannot be had here: stand-ins for their commands, jobs that really run."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest
from machines import Machine

COMMANDS = {
    "lsf": ("bsub", "bjobs", "bkill"),
    "moab": ("msub", "showq", "mjobctl"),
    "htcondor": ("condor_submit", "condor_q", "condor_history", "condor_rm"),
    "flux": ("flux",),
    "pbs": ("qsub", "qstat", "qdel"),
}

PROGRAM = """
from mpidask import batch

def submitted(text):
    return batch.submit(batch.Job(command=("sh", "-c", text)))

good, bad, long = submitted("echo here"), submitted("echo there >&2; exit 3"), submitted("sleep 600")
print(good.wait(timeout=60), good.state.value, good.logs().strip())
print(bad.wait(timeout=60), bad.state.value, bad.reason, bad.logs().strip())
print(long.state.value)
long.cancel()
long.wait(timeout=60)
print(long.state.value, long.reason)
"""


@pytest.fixture(params=COMMANDS)
def system(request):
    with tempfile.TemporaryDirectory(prefix="mpidask-test-") as name:
        directory = Path(name)
        for place in ("bin", "standin"):
            (directory / place).mkdir()
        for command in COMMANDS[request.param]:
            text = f"#!{sys.executable}\n{Path(__file__).with_name('standin.py').read_text()}"
            (directory / "bin" / command).write_text(text)
            (directory / "bin" / command).chmod(0o755)
        machine = Machine(request.param, directory, sys.executable, f"{directory}/bin:/usr/bin:/bin", user=None)
        machine.environment = {"STANDIN": f"{directory}/standin", "PBS_O_WORKDIR": name}
        yield machine
        machine.clean_up()


def test_from_submission_to_the_end(system):
    system.file("program.py", PROGRAM)
    done = system.run(system.python, "program.py", timeout=150)
    assert done.returncode == 0, done
    assert done.stdout.splitlines() == [
        "0 done here",
        "3 failed None there",
        "running",
        "failed cancelled by you",
    ], done
    jobs = system.status()
    assert [job["state"] for job in jobs] == ["done", "failed", "failed"]
    assert [job["exit_status"] for job in jobs][:2] == [0, 3]
    assert "exit status 3" in system.mpidask("status").stdout
    assert system.left_over() == []
