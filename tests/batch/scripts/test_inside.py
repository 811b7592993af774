"""Jobs that are submitted where the environment already says much, on a real Slurm."""

from __future__ import annotations

import re
import time

import pytest

SCRIPT = """
import os
from dask.distributed import Client

client = Client()
names = ("SET_IN_THE_PROLOGUE", "HOME")
told = client.submit(lambda: [os.environ.get(name) for name in names]).result()
print("answer", *told, len(client.scheduler_info(n_workers=-1)["workers"]), flush=True)
"""

#: What may be told of the outer job, and would have srun refuse, or a launcher take itself for a rank.
OUTER = {"SLURM_MEM_PER_GPU": "100", "SLURM_CPU_BIND": "quiet,mask_cpu:0x1", "PMI_RANK": "0", "PMIX_RANK": "0"}


@pytest.mark.both_mpis
def test_from_within_an_interactive_step(slurm):
    """The outer step's memory, cores, binding and rank are not the new job's; the environment's options lose."""
    slurm.file("script.py", SCRIPT)
    set_by_user = {
        "SBATCH_TIMELIMIT": "5",
        "SBATCH_PARTITION": "debug",
        "SBATCH_WAIT": "1",
        "SBATCH_JOB_NAME": "theirs",
    }
    further = [f"{name}={value}" for name, value in (OUTER | set_by_user).items()]
    shape = [*slurm.shape(2, 2), "--mem", "1500 MiB", "-t", "0:20:00"]
    words = ["submit", *shape, "--prologue", "export SET_IN_THE_PROLOGUE=yes", "--directive=--export=NONE", "--wait"]
    step = ["srun", "--ntasks=1", "--cpus-per-task=2", "--mem-per-cpu=300", "--partition=small"]
    done = slurm.run(*step, "env", *further, slurm.python, "-m", "mpidask.cli", *words, "script.py", timeout=120)
    assert done.returncode == 0, (done, slurm.status())
    assert "partition debug, from SBATCH_PARTITION" in done.stderr, done
    assert "walltime 0:20:00" in done.stderr, done
    (job,) = slurm.status()
    log = slurm.log(job["job"])
    home = slurm.run("sh", "-c", "echo $HOME").stdout.strip()
    assert f"answer yes {home} 2\n" in log, log
    told = slurm.run("scontrol", "show", "job", job["job"]).stdout
    assert "TimeLimit=00:20:00" in told, told
    assert "JobName=script" in told, told
    assert slurm.left_over() == []


def test_srun_without_the_environment_of_the_submission(slurm):
    """srun gives its tasks what SLURM_EXPORT_ENV says, unless it is told otherwise."""
    slurm.file("script.py", "import os\nprint('answer', os.environ.get('SET_IN_THE_PROLOGUE'), os.environ['HOME'])")
    words = ["--launcher", "srun", "--directive=--export=NONE", "--prologue", "export SET_IN_THE_PROLOGUE=yes"]
    done = slurm.mpidask("submit", *words, "--follow", "script.py", timeout=60)
    assert "answer yes /" in done.stdout, done
    assert done.returncode == 0, done


#: What old versions print, whatever they are asked for.
PLAIN = """#!/bin/sh
exec /usr/bin/squeue
"""
CUT_OFF = """#!/bin/sh
for word; do case $word in --jobs=*) jobs=$word ;; esac; done
/usr/bin/sacct --noheader --allocations $jobs --format=JobID%12,State%8,ExitCode | awk '{print $1 "|" $2 "|" $3}'
"""


def test_plain_columns_and_a_state_that_was_cut_off(slurm):
    """What is not understood is said once and changes nothing; the accounts tell the end."""
    (slurm.directory / "config" / "dask").mkdir(parents=True)
    slurm.file("config/dask/mpidask.yaml", "mpidask:\n  batch:\n    walltime: ''\n")
    slurm.file("words.py", "print('ran')")
    done = slurm.mpidask("submit", "--directive=-p small", "--directive=--hold", "words.py")
    assert "queue small (by a directive)" in done.stderr, done
    assert "left to the site: walltime, account" in done.stderr, done
    job = done.stdout.strip()
    assert "TimeLimit=00:05:00" in slurm.run("scontrol", "show", "job", job).stdout, (
        "the partition's: an empty text is none"
    )
    slurm.until(job, lambda each: each["state"] == "held")
    slurm.replace("squeue", PLAIN)
    time.sleep(1)  # until it is asked again
    done = slurm.mpidask("status")
    assert done.stderr.count("did not answer in a form that can be read") == 1, done
    assert "printed: JOBID PARTITION" in re.sub(" +", " ", done.stderr), done
    assert slurm.status(job)[0]["state"] == "held"
    slurm.replace("squeue", "#!/bin/sh\n")
    slurm.replace("sacct", CUT_OFF)
    slurm.run("scancel", job)
    each = slurm.until(job, lambda each: each["ended"])
    assert each["state"] == "cancelled", each
    assert f"{job}|CANCELL+|" in slurm.run("sacct", f"--jobs={job}").stdout
