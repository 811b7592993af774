"""What batch systems account of a job, as their commands print it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpidask.batch import registry
from mpidask.batch.job_state import JobId
from mpidask.batch.queries import accounting

pytestmark = pytest.mark.one_mpi

SACCT = """\
100|00:01:40|02:30.500||4G|1234
100.batch|00:01:40|00:10.250|12000K||
100.0|00:01:38|02:20.250|1.5G||1200
"""
QSTAT = """\
Job Id: 12.server
    Job_Name = flights
    resources_used.cput = 00:02:30
    resources_used.mem = 123456kb
    resources_used.walltime = 00:01:40
    Resource_List.mem = 4gb
"""
BACCT = (Path(__file__).parents[1] / "recorded" / "lsf" / "accounting.txt").read_text()
QACCT = "ru_wallclock 100\ncpu          150.5\nmaxvmem      1.5G\n"
QACCT_OF_TWO_NODES = f"ru_wallclock 98s\ncpu          1.500s\nmaxvmem      512.000MB\n{'=' * 62}\n{QACCT}"


@pytest.mark.parametrize(
    ("name", "output", "found"),
    [
        ("slurm", SACCT, {"wall": 100, "cpu": 150.5, "memory": 1.5 * 2**30, "asked": 4 * 2**30, "energy": 1234}),
        ("slurm", "", {}),
        ("slurm", "100|1-00:00:01|00:00:00||0n|\n", {"wall": 86401}),
        ("pbs", QSTAT, {"wall": 100, "cpu": 150, "memory of the job": 123456 * 1024, "asked": 4 * 2**30}),
        ("torque", QSTAT, {"wall": 100, "cpu": 150, "memory of the job": 123456 * 1024, "asked": 4 * 2**30}),
        ("lsf", BACCT, {"wall": 100, "cpu": 150.5, "memory of the job": 1.5 * 2**30}),
        ("lsf", BACCT.replace(" 1.5G ", "    - ").replace("done   ", "exit   "), {"wall": 100, "cpu": 150.5}),
        ("lsf", "No matching job found\n", {}),
        ("sge", QACCT, {"wall": 100, "cpu": 150.5, "memory of the job": 1.5 * 2**30}),
        ("sge", QACCT_OF_TWO_NODES, {"wall": 100, "cpu": 152, "memory of the job": 2 * 2**30}),
    ],
)
def test_figures(name, output, found):
    assert accounting.parse(registry.find(name), output) == found


def test_a_job_of_another_cluster_is_asked_for_there():
    command = accounting.command(registry.find("slurm"), JobId("100", ("other",)))
    assert command.argv[:2] == ("sacct", "--clusters=other")
    assert "--jobs=100" in command.argv


def test_where_there_is_nothing_to_ask():
    assert accounting.command(registry.find("local"), JobId("100")) is None
    assert accounting.command(registry.find("slurm"), JobId("")) is None
