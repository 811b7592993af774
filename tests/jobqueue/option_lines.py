"""Random keywords of the cluster classes, and what dask-jobqueue 0.9.0 makes of them: recorded/option-lines.json.

To record them anew, in an environment of its own (dask-jobqueue and mpidask share a section of Dask's configuration):

    python3 -m venv /tmp/other && /tmp/other/bin/pip install dask-jobqueue==0.9.0
    cd /tmp && DASK_CONFIG=/nowhere /tmp/other/bin/python .../tests/jobqueue/option_lines.py

The sets are drawn with a fixed seed, and stand in the file with the lines: the test needs no dask-jobqueue.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

RECORDED = Path(__file__).parent / "recorded" / "option-lines.json"
COUNT = 1000
SEED = 16

NAMES = {
    "slurm": "SLURM",
    "pbs": "PBS",
    "moab": "Moab",
    "sge": "SGE",
    "lsf": "LSF",
    "oar": "OAR",
    "htcondor": "HTCondor",
}

MEMORY = [
    "8GB",
    "8 GB",
    "16GiB",
    "500 MB",
    "1.5TB",
    "100GB",
    "190 GiB",
    "8g",
    "4000MB",
    "25 GB",
    "12345678kB",
    16 * 10**9,
]
NAMED = ["normal", "gpu", "long-queue", "abc_1", "p.42"]
LINES = {
    "slurm": ["--exclusive", "--qos=debug", "-C geyser", "--gres=gpu:1", "--mail-type=ALL"],
    "pbs": ["-P xy12", "-l ncpus=48", "-j oe", "-m n"],
    "moab": ["-P xy12", "-l nodes=1", "-j oe", "-m n"],
    "sge": ["-pe smp 4", "-l h_vmem=4G", "-w e", "-V"],
    "lsf": ["-gpu num=1", "-u me@site.org", "-x"],
    "oar": ["-t besteffort", "-p gpu>0", "-p cluster='x'", "-r now"],
}
SKIPS = {
    "slurm": ["--mem", "-n 1", "-J", "-t ", "--cpus-per-task"],
    "pbs": ["select", "-N", "walltime"],
    "moab": ["select", "-N", "walltime"],
    "sge": ["-cwd", "-j y", "h_rt"],
    "lsf": ["-R", "-M", "-J"],
    "oar": ["-n", "walltime"],
    "htcondor": ["RequestDisk", "batch_name", "RequestCpus"],
}
WALLTIMES = ["00:30:00", "12:00:00", "1-00:00:00", "1:00", "90", "02:00"]
ATTRIBUTES = [{"+Project": '"x"'}, {"Requirements": 'Arch == "X86_64"', "Rank": "Memory"}, {"Stream_Output": True}]


def draw(number):
    """Return batch system and keywords of the set of that number."""
    dice = random.Random(f"{SEED} {number}")
    system = dice.choice(list(NAMES))
    given = {"cores": dice.choice([1, 2, 4, 24, 36, 128]), "memory": dice.choice(MEMORY)}
    if system == "oar":
        given["memory_per_core_property_name"] = dice.choice(["not_applicable", "mem_core", "memcore"])
    if system == "htcondor":
        given["disk"] = dice.choice(["1GB", "20 GiB", 10**10])
    possible = choices(system, dice)
    for name in dice.sample(list(possible), dice.randint(0, len(possible) // 2)):
        given[name] = possible[name]
    return system, given


def choices(system, dice):
    """Return keyword -> value for a batch system."""
    found = {
        "job_name": dice.choice(["dask-worker", "mine", "job.1"]),
        "processes": dice.choice([1, 2]),
        "log_directory": dice.choice(["logs", "logs/of/mine"]),
        "shebang": dice.choice(["#!/bin/bash", "#!/usr/bin/env bash", "#!/usr/bin/env zsh"]),
        "interface": "lo",
        "nanny": dice.choice([True, False]),
        "death_timeout": dice.choice([60, "120", 300]),
        "local_directory": "$TMPDIR",
        "python": "python3",
        dice.choice(["worker_extra_args", "extra"]): ["--lifetime", "55m"],
        dice.choice(["job_script_prologue", "env_extra"]): dice.choice([["module load python"], [], ["a=1", "b=2"]]),
        dice.choice(["job_directives_skip", "header_skip"]): several(SKIPS[system], dice),
    }
    extra = dice.choice(["job_extra_directives", "job_extra"])
    if system == "htcondor":
        return found | {extra: dice.choice(ATTRIBUTES), "submit_command_extra": ["-name", "far"]}
    lines = several(LINES[system], dice)
    found[extra] = dice.choice([lines, lines, tuple(lines), dict.fromkeys(lines), " ".join(lines[:1])])
    found["queue"] = dice.choice(NAMED)
    found["walltime"] = dice.choice(WALLTIMES)
    if system in ("slurm", "pbs", "moab"):
        found[dice.choice(["account", "project"])] = dice.choice([*NAMED, 12345])
    else:
        found["project"] = dice.choice([*NAMED, 12345])
    if system in ("pbs", "moab", "sge", "oar"):
        found["resource_spec"] = dice.choice(["select=1:ncpus=24:mem=100GB", "h_vmem=8G", "/nodes=1/core=2"])
    if system == "slurm":
        found |= {"job_cpu": dice.choice([1, 16]), "job_mem": dice.choice(["16GB", "0", 4000])}
    if system == "lsf":
        units = dice.choice(["kb", "mb", "GB", "tb"])
        found |= {"ncpus": dice.choice([1, 16]), "mem": dice.choice([2 * 10**9, 10**8]), "lsf_units": units}
        found["use_stdin"] = dice.choice([True, False])
    return found


def several(values, dice):
    return dice.sample(values, dice.randint(0, min(3, len(values))))


def recorded():
    """Return (batch system, keywords, option lines) for each set."""
    return [tuple(json.loads(line)) for line in RECORDED.read_text().splitlines()]


def record():
    import importlib
    import os
    import tempfile
    import warnings

    warnings.simplefilter("ignore")
    os.chdir(tempfile.mkdtemp())
    for name in ("PBS_ACCOUNT", "LSF_ENVDIR", "LSF_CONFDIR"):
        os.environ.pop(name, None)
    lines = []
    for number in range(COUNT):
        system, given = draw(number)
        kind = getattr(importlib.import_module(f"dask_jobqueue.{system}"), f"{NAMES[system]}Job")
        job = kind("tcp://10.0.0.1:8786", "w-0", **given)
        attributes = getattr(job, "job_header_dict", None)
        header = (
            [f"{key} = {value}" for key, value in attributes.items()] if attributes else job.job_header.splitlines()
        )
        lines.append(json.dumps([system, given, header]))
    RECORDED.write_text("\n".join([*lines, ""]))


if __name__ == "__main__":
    record()
