"""Jobs that a real Slurm preempts and runs again, and what its accounting says of them."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from harness import MPI, PATIENCE

PROGRAM = """
import os, time
import mpidask
from dask.distributed import Client

@mpidask.on_walltime
def warned():
    print("warned", flush=True)

again = os.environ.get("SLURM_RESTART_COUNT", "0")
print("execution", again, Client().submit(lambda: 42).result(), flush=True)
if again == "0":
    time.sleep(600)
"""

NODE = "--directive=--nodelist=mn4"

COMPUTE = "from dask.distributed import Client; print(Client().submit(lambda: 42).result())"

ACCOUNTS = """
import sys
from mpidask.batch import registry
from mpidask.batch.queries import monitor
from mpidask.batch.job_state import JobId

slurm = registry.find("slurm")
for report in monitor.ask(slurm, slurm.history, map(JobId, sys.argv[1:])).values():
    print(report.id, report.state.value, report.native, report.exit_status)
"""


def preempt(slurm, job):
    """Submit a job that takes the node of another; return its id."""
    node = slurm.run("squeue", "-h", "-j", job, "-o", "%N").stdout.strip()
    assert re.fullmatch(r"mn\d", node)
    return take(slurm, "-p", "debug", "-w", node)


def take(slurm, *where):
    """Submit a job that takes whole nodes until there is a file go.txt; return its id."""
    until_told = f"until [ -e {slurm.directory}/go.txt ]; do sleep 0.2; done"
    words = ("--parsable", *where, "--exclusive", "-t", "1", "-o", "/dev/null", "--wrap", until_told)
    return slurm.run("/usr/bin/sbatch", *words).stdout.strip()


#: An answer that is lost on its way: the job is taken.
SILENT = """#!/bin/sh
/usr/bin/sbatch "$@" >/dev/null
kill -9 $$
"""


def test_a_job_of_another_cluster_is_found_by_its_script_and_warned_when_its_qos_makes_room(far):
    """The place is part of its identity: it is looked for, asked about and cancelled there."""
    far.file("again.py", PROGRAM)
    far.replace("sbatch", SILENT)
    done = far.mpidask("submit", "--directive=--clusters=mpidask-far", "--directive=--qos=low", "again.py")
    job = done.stdout.strip()
    assert f"Slurm did not say that it has taken the job; it has: {job}\n" in done.stderr, done
    number, place = job.split("@")
    assert place == "mpidask-far", done
    far.until(job, lambda each: each["workers"] == 1)
    take(far, "--clusters=mpidask-far", "--qos=high")
    each = far.until(job, lambda each: each["state"] == "pending")
    assert each["reason"].startswith("preempted once; waits to run again"), each
    assert [execution["exit_status"] for execution in each["executions"]] == [75, None], each
    assert "warned" in far.log(job), "the grace time is the QOS's"
    assert "is cancelled" in far.mpidask("cancel", job).stderr
    far.file("go.txt", "")  # while its node is taken it does not run again
    assert far.until(job, lambda each: each["ended"])["state"] == "cancelled"
    left = far.run(
        "squeue", "--noheader", "--clusters=mpidask-far", "--states=pending,running", "--format=%A %u"
    ).stdout
    assert f"{number} {far.user}" not in left.splitlines(), left


def test_a_preempted_job_waits_and_runs_again(slurm):
    slurm.file("again.py", PROGRAM)
    waiting = slurm.spawn(slurm.python, "-m", "mpidask.cli", "submit", "-p", "scavenge", NODE, "--wait", "again.py")
    job = waiting.stdout.readline().strip()
    slurm.until(job, lambda each: each["workers"] == 1)
    other = preempt(slurm, job)
    each = slurm.until(job, lambda each: each["state"] == "pending")
    assert each["reason"].startswith("preempted once; waits to run again"), each
    assert each["ended"] is None, each
    assert each["exit_status"] is None, each
    slurm.file("go.txt", "")
    assert waiting.poll() is None, "it waits for the job's end, not for that of an execution"
    stdout, stderr = waiting.communicate(timeout=90 * PATIENCE)
    assert waiting.returncode == 0, (stdout, stderr)
    (each,) = slurm.status(job)
    assert (each["state"], each["exit_status"]) == ("done", 0), each
    assert [execution["exit_status"] for execution in each["executions"]] == [75, 0], each
    earlier = (Path(each["directory"]) / "execution-0" / "job.log").read_text()
    assert "warned" in earlier, "the grace time begins with a warning, as the end of the walltime"
    assert "warned" not in slurm.log(job)
    assert "execution 1 42" in slurm.log(job)
    assert "execution 0" not in slurm.log(job), "each execution has its own log"
    # The accounts are in a database: sacct tells what squeue has forgotten.
    slurm.file("accounts.py", ACCOUNTS)
    deadline = time.monotonic() + 30 * PATIENCE  # the database hears of it later
    while True:
        told = slurm.run(slurm.python, "accounts.py", job, other).stdout.splitlines()
        if f"{job} done COMPLETED 0" in told or time.monotonic() > deadline:
            break
        time.sleep(1)
    assert f"{job} done COMPLETED 0" in told, told


@pytest.mark.thorough
def test_ranks_that_srun_has_started_are_warned_too(slurm):
    """They get SIGTERM when the grace time begins."""
    if not MPI.is_mpich:
        return  # srun starts Open MPI with PMIx, which Debian's Slurm does not bring
    slurm.file("again.py", PROGRAM)
    shape = ["-N", "1", "--ranks-per-node", "3", "--launcher", "srun --mpi=pmi2"]
    job = slurm.mpidask("submit", "-p", "scavenge", NODE, *shape, "again.py").stdout.strip()
    slurm.until(job, lambda each: each["workers"] == 1)
    preempt(slurm, job)
    each = slurm.until(job, lambda each: each["state"] == "pending")
    assert each["reason"].startswith("preempted once; waits to run again"), each
    log = slurm.log(job)
    assert "warned" in log, log
    assert "got SIGTERM" not in log, log
    assert slurm.mpidask("cancel", job).returncode == 0
    slurm.file("go.txt", "")
    assert slurm.until(job, lambda each: each["ended"])["state"] == "cancelled"


@pytest.mark.thorough
def test_a_job_that_waits_to_run_again_can_be_cancelled(slurm):
    slurm.file("again.py", PROGRAM)
    first = slurm.submit("-p", "scavenge", NODE, "again.py")
    second = slurm.mpidask("start", "--directive=--nodelist=mn3").stdout.strip()
    for job, partition, node in ((first, "scavenge", "mn4"), (second, "debug", "mn3")):
        slurm.until(job, lambda each: each["workers"] == 1)
        take(slurm, "-p", partition, "-w", node)  # begins when the job leaves its node, so that it has to wait
        slurm.run("scontrol", "requeue", job)
        each = slurm.until(job, lambda each: each["state"] == "pending")
        assert each["reason"].startswith("requeued once; waits to run again"), each
        assert "is cancelled" in slurm.mpidask("cancel" if job == first else "stop", job).stderr
    for job in (first, second):
        each = slurm.until(job, lambda each: each["ended"])
        assert (each["state"], each["reason"]) == ("cancelled", "cancelled by you"), each
    assert not {first, second} & {*slurm.run("squeue", "-h", "--me", "-o", "%A").stdout.split()}
    slurm.file("go.txt", "")
    # One that runs again can be connected to.
    third = slurm.mpidask("start").stdout.strip()
    slurm.until(third, lambda each: each["workers"] == 1)
    slurm.run("scontrol", "requeue", third)
    slurm.until(third, lambda each: each["state"] == "pending" or len(each["executions"]) == 2)  # not the first one's
    done = slurm.mpidask("connect", third, "-c", COMPUTE)
    assert done.stdout.strip() == "42", done
    (each,) = slurm.status(third)
    assert len(each["executions"]) == 2, each
    assert "ended gracefully" in slurm.mpidask("stop", third).stderr
