"""Per-worker jobs under LSF: the names of ``dask_jobqueue.lsf``."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dask.utils import parse_bytes

from mpidask.errors import ArgumentError
from mpidask.jobqueue.cluster.documentation import documented
from mpidask.jobqueue.cluster.job_queue_cluster import JobQueueCluster
from mpidask.jobqueue.jobs.job import Job

__all__ = ["LSFCluster", "LSFJob", "lsf_detect_units", "lsf_format_bytes_ceil"]

_UNITS = list("kmgtpez")


class LSFJob(Job):
    """A job under LSF."""

    config_name = "lsf"
    system_name = "lsf"

    def prepared(self, settled: dict[str, Any]) -> Mapping[str, Any]:
        """Return the keywords, with the memory in the unit in which the site counts it.

        Parameters
        ----------
        settled : dict
            Keyword -> value.

        Returns
        -------
        mapping
            The same, with ``lsf_memory``.

        Raises
        ------
        ArgumentError
            ``lsf_units`` is no unit of LSF's.
        """
        unit = (settled["lsf_units"] or lsf_detect_units()).lower()[:1]
        if unit not in _UNITS:
            raise ArgumentError(
                f"lsf_units is {settled['lsf_units']!r}", "one of kb, mb, gb, tb, pb, eb, zb is needed there"
            )
        size = settled["mem"] or parse_bytes(settled["memory"])
        return super().prepared({**settled, "lsf_memory": lsf_format_bytes_ceil(size, unit)})

    def submit_words(self, words: tuple[str, ...], script: Path) -> tuple[str, ...]:
        """Return the words of bsub, with the script's path if it is not to come on stdin.

        Parameters
        ----------
        words : tuple of str
            The command as the file of LSF has it.
        script : Path
            The job script.

        Returns
        -------
        tuple of str
            The words to run.
        """
        return words if self.use_stdin else (*words, str(script))

    @property
    def use_stdin(self) -> bool:
        """Whether bsub reads the script on stdin."""
        return bool(self.spec.keywords["use_stdin"])


@documented
class LSFCluster(JobQueueCluster):
    """LSFCluster: workers are jobs under LSF."""

    job_cls = LSFJob


def lsf_format_bytes_ceil(n: float, lsf_units: str = "mb") -> str:
    """Return bytes in a unit of LSF's (kb, mb, ... by the first letter; 1000 bytes are a kb), rounded up."""
    return str(math.ceil(n / 1000 ** (_UNITS.index(lsf_units.lower()[:1]) + 1)))


def lsf_detect_units() -> str:
    """Return the unit in which LSF counts memory here: https://www.ibm.com/docs/en/spectrum-lsf/10.1.0?topic=lsfconf-lsf-unit-limits."""
    directory = os.environ.get("LSF_ENVDIR") or os.environ.get("LSF_CONFDIR") or "/etc"
    try:
        text = (Path(directory) / "lsf.conf").read_text(errors="replace")
    except OSError:
        return "kb"
    found = re.findall(r"^\s*LSF_UNIT_FOR_LIMITS\s*=\s*\"?(\w+)", text, re.MULTILINE)
    return found[-1].lower() if found else "kb"
