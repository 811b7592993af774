"""Jobs that are submitted where the environment already says much, on a real Slurm."""

from __future__ import annotations

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
