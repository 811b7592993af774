"""Which GPUs there are, and whether the driver answers."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mpidask.doctor.finding import Finding, failure, ok, warning
from mpidask.doctor.probe import Facts, Probe

_ANSWERS = 10.0  # s


def measure(root: Path) -> dict[str, Any]:
    """Return the GPUs that a rank would give to its workers, and what NVIDIA's tool says of them."""
    from mpidask.launch.resources import gpus
    from mpidask.launch.resources.division import Facts as OfRank

    nothing = OfRank(host="", node="", network="", cores=(), node_cores=0, cpu=(), memory=())
    seen = gpus.seen(nothing, os.environ, root)
    nvidia = shutil.which("nvidia-smi") if (root / "proc/driver/nvidia/gpus").exists() else None
    return {
        "gpus": [dataclasses.asdict(each) for each in seen.gpus],
        "trouble": seen.gpu_trouble,
        "nvml": _nvml(nvidia) if nvidia else None,
    }


def _nvml(tool: str) -> dict[str, Any]:
    """Return the lines that NVML has for each card, or the error."""
    words = [tool, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_ANSWERS, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as raised:
        return {"cards": [], "error": type(raised).__name__}
    error = "" if done.returncode == 0 else (done.stdout + done.stderr).strip().partition("\n")[0]
    return {"cards": done.stdout.splitlines() if not error else [], "error": error}


def judge(facts: Facts) -> Iterator[Finding]:
    """Find GPUs that are hidden by mistake, or that the driver does not know."""
    nvml = facts["nvml"]
    if facts["trouble"]:
        yield failure(facts["trouble"], "unset CUDA_VISIBLE_DEVICES, or name GPUs of this job")
    if nvml is not None and nvml["error"]:
        yield warning(f"NVML does not answer: {nvml['error']}", "run nvidia-smi on the node; tell your site")
    elif nvml is not None:
        yield ok(f"GPUs: {'; '.join(nvml['cards'])}")
    elif not facts["trouble"]:
        names = ", ".join(each["model"] or each["name"] for each in facts["gpus"])
        yield ok(f"GPUs: {names}" if names else "no GPUs")


PROBE = Probe("GPUs", measure, judge)
