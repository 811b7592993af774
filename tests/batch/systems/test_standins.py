"""From submission to the end on batch systems that cannot be had here: stand-ins for their commands, jobs that really run."""

from __future__ import annotations

import json

import pytest
from machines import STOOD_IN, stood_in

from mpidask.report import record

PROGRAM = """
from mpidask import batch

def submitted(text):
    return batch.submit(batch.Job(command=("sh", "-c", text)))

good, bad, long = submitted("echo here"), submitted("echo there >&2; exit 3"), submitted("sleep 600")
print(good.wait(timeout=180), good.state.value, good.logs().strip())
print(bad.wait(timeout=180), bad.state.value, bad.reason, bad.logs().strip())
print(long.state.value)
long.cancel()
long.wait(timeout=180)
print(long.state.value, long.reason)
"""


@pytest.fixture(params=STOOD_IN)
def system(request):
    with stood_in(request.param) as machine:
        yield machine


def test_from_submission_to_the_end(system):
    system.file("program.py", PROGRAM)
    done = system.run(system.python, "program.py", timeout=150)
    assert done.returncode == 0, done
    assert done.stdout.splitlines() == [
        "0 done here",
        "3 failed None there",
        "running",
        "cancelled cancelled by you",
    ], done
    jobs = system.status()
    assert [job["state"] for job in jobs] == ["done", "failed", "cancelled"]
    assert [job["exit_status"] for job in jobs][:2] == [0, 3]
    assert "exit status 3" in system.mpidask("status").stdout
    assert system.left_over() == []


def test_a_report_has_what_lsf_accounts():
    with stood_in("lsf") as machine:
        machine.file("program.py", PROGRAM.partition("good, bad")[0] + "print(submitted('true').wait(timeout=180))")
        done = machine.run(machine.python, "program.py", timeout=90)
        assert done.stdout == "0\n", done
        (job,) = machine.status()
        record.append(record.reserve(job["directory"]), [{"kind": "run", "version": 1, "t": 1000.0}])
        found = json.loads(machine.mpidask("report", job["job"], "--json").stdout)
    assert found["accounted"] == {"wall": 3, "cpu": 4, "memory of the job": 5 << 20}
