"""Per-worker jobs under OAR: the names of ``dask_jobqueue.oar``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from dask.utils import parse_bytes

from mpidask.jobqueue.cluster.documentation import documented
from mpidask.jobqueue.cluster.job_queue_cluster import JobQueueCluster
from mpidask.jobqueue.jobs.job import Job
from mpidask.jobqueue.keywords.warning import warn

__all__ = ["OARCluster", "OARJob"]


class OARJob(Job):
    """A job under OAR."""

    config_name = "oar"
    system_name = "oar"

    def prepared(self, settled: dict[str, Any]) -> Mapping[str, Any]:
        """Return the keywords; a request for memory becomes a property, of which OAR reads one line.

        Parameters
        ----------
        settled : dict
            Keyword -> value.

        Returns
        -------
        mapping
            The same, with the line for memory among the directives.
        """
        wanted = settled["memory_per_core_property_name"]
        directives = list(settled["job_extra_directives"])
        if wanted is None:
            warn(
                "OAR is not told about the memory of jobs: sites name the property; see memory_per_core_property_name",
                UserWarning,
                key="keywords-of-clusters",
            )
        elif wanted != "not_applicable":
            each = math.ceil(parse_bytes(settled["memory"]) / (settled["job_cores"] or settled["cores"]) / 2**20)
            last = next((line for line in reversed(directives) if line.startswith("-p ")), None)
            asked = f"{wanted}>={each}"
            directives.append(f"-p '{last.removeprefix('-p ')} AND {asked}'" if last else f"-p {asked}")
        return super().prepared({**settled, "job_extra_directives": directives})


@documented
class OARCluster(JobQueueCluster):
    """OARCluster: workers are jobs under OAR."""

    job_cls = OARJob
