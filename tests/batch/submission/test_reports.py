"""The report of a job: of one that has ended well, of one that was killed, and what the batch system accounts."""

from __future__ import annotations

import json
import subprocess

import pytest

WORK = """
import time
from dask.distributed import Client

def work(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass

client = Client()
client.gather(client.map(work, [0.2] * 20, pure=False))
print("computed", flush=True)
"""


def report(system, job):
    return json.loads(system.mpidask("report", job, "--json").stdout)


@pytest.mark.thorough
def test_a_job_that_ends_well(system):
    system.file("work.py", WORK)
    done = system.mpidask("submit", *system.shape(1, 3), "--follow", "work.py", timeout=150)
    assert done.returncode == 0, done
    (job,) = system.status()
    for line in job["report"]["lines"]:
        assert f"mpidask: report  {line}" in done.stdout, done
        assert f"  report     {line}" in system.mpidask("status", job["job"]).stdout
    found = report(system, job["job"])
    assert found["summary"]["exit_status"] == 0
    assert found["summary"]["tasks"] == 20
    assert sum(found["summary"]["shares"].values()) == pytest.approx(1, abs=0.02)
    page = system.mpidask("report", job["job"]).stdout.strip()
    assert page.endswith("/report.html")
    assert "was killed" not in system.run("cat", page).stdout


@pytest.mark.thorough
def test_a_job_that_is_killed(system):
    system.file("work.py", WORK + "time.sleep(600)")
    job = system.submit(*system.shape(1, 3), "work.py")
    system.until(job, lambda each: "computed" in system.log(job) and report(system, job)["summary"]["tasks"])
    page = system.run("cat", system.mpidask("report", job).stdout.strip()).stdout
    assert "The run has not ended." in page
    (known,) = system.status()
    assert known["report"]["lines"][0].endswith(" so far")
    # At once, and who has started others last, for the kernel has such ones go on: the one that writes the record is
    # not to see others go.
    there = map(str, sorted(system.processes(), reverse=True))
    system.run("sh", "-c", 'kill -STOP "$@"; kill -KILL "$@"', "sh", *there)
    system.until(job, lambda each: each["ended"])
    found = report(system, job)
    assert (found["summary"]["complete"], found["summary"]["exit_status"]) == (False, None)
    assert found["summary"]["shares"]["useful"] > 0
    page = system.run("cat", system.mpidask("report", job).stdout.strip()).stdout
    assert "The run was killed: " in page


@pytest.mark.thorough
def test_what_slurm_accounts(slurm):
    """It agrees with the record but for what a job does before and after its run."""
    slurm.file("work.py", WORK.replace("* 20", "* 100"))
    done = slurm.mpidask("submit", *slurm.shape(1, 3), "--wait", "work.py", timeout=200)
    assert done.returncode == 0, done
    (job,) = slurm.status()
    found = report(slurm, job["job"])
    accounted, ours = found["accounted"], found["summary"]
    assert accounted["wall"] >= int(ours["wall_seconds"])
    assert accounted["cpu"] >= 0.95 * ours["cpu_seconds"] > 0
    assert accounted["memory"] > 0


@pytest.mark.thorough
def test_a_job_that_loses_a_node(slurm):
    """Status and report say which node it was, also when it is up again."""
    slurm.file("work.py", WORK + "time.sleep(600)")
    job = slurm.submit(*slurm.shape(2, 2), "--directive=--no-requeue", "work.py")
    running = slurm.until(job, lambda each: "computed" in slurm.log(job) and report(slurm, job)["summary"]["tasks"])
    lost = running["node_list"][-1]
    try:
        down = ["scontrol", "update", f"nodename={lost}", "state=down", "reason=test"]
        subprocess.run(down, check=True, timeout=60)
        ended = slurm.until(job, lambda each: each["ended"] and each["native"] == "NF")
    finally:
        subprocess.run(["scontrol", "update", f"nodename={lost}", "state=resume"], check=False, timeout=60)
    said = f"node {lost} was lost"
    assert ended["reason"] == said, slurm.log(job)
    assert said in slurm.mpidask("status", job).stdout
    found = report(slurm, job)
    assert found["ended"] == said
    assert found["summary"]["shares"]["useful"] > 0
    assert said in slurm.run("cat", slurm.mpidask("report", job).stdout.strip()).stdout
