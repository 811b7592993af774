"""What goes wrong on clusters, on real ones."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import signal
import subprocess
import time
from pathlib import Path

import machines
import pytest
from harness import MPI, kill_at_once
from machines import HERE, STATE
from selection import some

SLEEPS = """
import time
from dask.distributed import Client

print("answer", Client().submit(lambda: 42).result(), flush=True)
time.sleep(600)
"""

STUBBORN = """
from datetime import timedelta
from mpidask import batch

command = ("sh", "-c", "trap : TERM USR1; while :; do sleep 1; done")
print(batch.submit(batch.Job(command=command, walltime=timedelta(seconds=15))).id)
"""


@pytest.mark.parametrize("system", ["slurm", "sge"], indirect=True)
def test_the_walltime_kills_a_job_that_does_not_end(system):
    system.file("program.py", STUBBORN)
    job = system.run(system.python, "program.py").stdout.strip()
    if system.name == "slurm":  # which gives a minute at least, and looks every 30 s
        system.until(job, lambda each: each["state"] == "running")
        subprocess.run(["scontrol", "update", f"jobid={job}", "EndTime=now"], check=True, timeout=20)
    each = system.until(job, lambda each: each["ended"] and each["reason"], timeout=120)
    assert each["state"] == "failed", each
    assert "walltime" in each["reason"], each
    assert system.left_over() == []


def test_a_job_that_takes_too_much_memory(slurm):
    slurm.file("eats.py", "data = [bytearray(10**7) for _ in range(100)]\nimport time; time.sleep(60)")
    done = slurm.mpidask("submit", "--mem", "300 MiB", "--wait", "eats.py", timeout=100)
    assert done.returncode != 0, done
    (job,) = slurm.status()
    assert (job["state"], job["reason"]) == ("failed", "out of memory"), job


@pytest.mark.thorough
def test_a_node_that_is_lost(slurm):
    slurm.file("sleeps.py", SLEEPS)
    job = slurm.submit("--ranks-per-node", "3", "--directive=--no-requeue", "sleeps.py")
    slurm.until(job, lambda each: each["workers"] == 1)
    node = slurm.run("squeue", "-h", "-j", job, "-o", "%N").stdout.strip()
    assert re.fullmatch(r"mn\d", node)
    script = f". {HERE}/lib.sh; processes '^slurmd -N {node}'"
    for process in subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.split():
        os.kill(int(process), signal.SIGKILL)
    try:
        each = slurm.until(job, lambda each: each["ended"], timeout=100)
        assert (each["state"], each["reason"]) == ("failed", f"node {node} was lost"), each
    finally:
        machines.script("slurm.sh", "up")


@pytest.mark.thorough
def test_a_node_that_crashes_and_comes_up_again(sge):
    """Grid Engine's daemon there, and all that runs there, is killed; the next daemon has lost the job."""
    sge.file("sleeps.py", SLEEPS)
    job = sge.submit(*sge.shape(2, 1), "sleeps.py")
    node = sge.until(job, lambda each: each["workers"])["node_list"][0]
    kill_at_once(processes_on(node))
    machines.script("sge.sh", "up")
    each = sge.until(job, lambda each: each["ended"], timeout=100)
    assert (each["state"], each["reason"]) == ("failed", f"node {node} was lost"), each


def processes_on(node):
    """Return Grid Engine's processes on a simulated node, and those of its jobs: other batch systems use the node, too."""
    user = pwd.getpwnam("mpidask-sge").pw_uid
    here = Path(f"/proc/{(STATE / f'{node}.pid').read_text().strip()}")
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().decode(errors="replace")
            theirs = process.stat().st_uid == user or re.search("sge_|qrsh_", words)
            if theirs and (process / "ns/uts").readlink() == (here / "ns/uts").readlink():
                found.append(int(process.name))
    return found


def test_no_answer_is_no_news(slurm):
    slurm.file("sleeps.py", SLEEPS)
    job = slurm.submit("--ranks-per-node", "3", "sleeps.py")
    slurm.until(job, lambda each: each["workers"] == 1)
    broken = slurm.directory / "bin"
    broken.mkdir()
    for name in ("squeue", "sacct"):
        (broken / name).write_text(
            "#!/bin/sh\necho 'slurm_load_jobs error: Unable to contact slurm controller' >&2\nexit 1\n"
        )
        (broken / name).chmod(0o755)
    path, slurm.path = slurm.path, f"{broken}:{slurm.path}"
    for _ in range(3):
        done = slurm.mpidask("status", job)
        assert done.returncode == 0, done
        assert re.search(rf"^{job} +sleeps +running", done.stdout, re.MULTILINE), done
        time.sleep(1)
    assert "Slurm did not answer" in done.stderr, done
    assert "Unable to contact slurm controller" in done.stderr, done
    slurm.path = path
    assert slurm.mpidask("cancel", job).returncode == 0
    assert slurm.until(job, lambda each: each["ended"])["reason"] == "cancelled by you"


def test_one_question_for_all_jobs_and_all_shells(slurm):
    slurm.file("words.py", "print('ran')")
    jobs = [slurm.submit("--directive=--hold", "words.py") for _ in range(3)]
    counting = slurm.directory / "bin"
    counting.mkdir()
    (counting / "squeue").write_text(f'#!/bin/sh\necho asked >> {slurm.directory}/asked\nexec /usr/bin/squeue "$@"\n')
    (counting / "squeue").chmod(0o755)
    slurm.path = f"{counting}:{slurm.path}"
    slurm.environment = {**slurm.environment, "DASK_MPIDASK__BATCH__POLL_INTERVAL": "600 s"}
    for _ in range(3):
        assert {each["state"] for each in slurm.status()} == {"held"}
        assert slurm.status(jobs[1])[0]["reason"].startswith("held; release it")
    assert (slurm.directory / "asked").read_text() == "asked\n"


def test_a_job_that_someone_else_cancels(slurm):
    slurm.file("sleeps.py", SLEEPS)
    job = slurm.submit("--ranks-per-node", "3", "sleeps.py")
    slurm.until(job, lambda each: each["workers"] == 1)
    slurm.run("scancel", job)
    each = slurm.until(job, lambda each: each["ended"] and each["native"] == "CA")
    assert (each["state"], each["reason"]) == ("cancelled", "cancelled"), each
    assert slurm.left_over() == []


def test_a_running_job_survives_its_follower(slurm):
    slurm.file("sleeps.py", SLEEPS.replace("600", "3"))
    with slurm._popen(
        [slurm.python, "-m", "mpidask.cli", "submit", "--follow", "sleeps.py"], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline()
        process.kill()
    (job,) = slurm.status()
    assert slurm.until(job["job"], lambda each: each["ended"])["state"] == "done"


SRUN = {
    "ends": ("", 0),
    "exits": ("sys.exit(7)", 7),
    "a lost scheduler": ("os.kill(scheduler, signal.SIGKILL); time.sleep(600)", None),
}


@pytest.mark.parametrize("name", some(SRUN, ["exits"]))
def test_srun_as_the_launcher(slurm, name):
    """Slurm's own launcher, which MPICH can use by itself."""
    if not MPI.is_mpich:
        return  # srun starts Open MPI with PMIx, which Debian's Slurm does not bring
    code, status = SRUN[name]
    slurm.file(
        "script.py",
        "import os, signal, sys, time\nfrom dask.distributed import Client\nclient = Client()\n"
        "scheduler = client.run_on_scheduler(os.getpid)\nprint('answer', client.submit(lambda: 42).result(), flush=True)\n"
        + code,
    )
    shape = ["-N", "1", "--ranks-per-node", "4", "--launcher", "srun --mpi=pmi2"]
    done = slurm.mpidask("submit", *shape, "--follow", "script.py", timeout=100)
    assert "answer 42" in done.stdout, done
    assert done.returncode == status or (status is None and done.returncode not in (0, 70)), done
    assert slurm.left_over() == []
