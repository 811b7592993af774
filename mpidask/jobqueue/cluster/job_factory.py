"""`JobFactory`: makes the jobs of a cluster, of its own kind and of its groups."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from mpidask.errors import ArgumentError
from mpidask.jobqueue.jobs.job import Job
from mpidask.jobqueue.keywords.warning import once

__all__ = ["NO_ADDRESS", "JobFactory", "class_of_jobs"]

NO_ADDRESS = "tcp://<insert-scheduler-address-here>:8786"


class JobFactory:
    """What a cluster makes its jobs with.

    kind:   their class
    own:    their keywords
    groups: group -> keywords that differ
    Raises ArgumentError for keywords that cannot be used. What is warned of is said once.
    """

    def __init__(self, kind: type[Job], own: dict[str, Any], groups: object) -> None:
        self.kind = kind
        self.own = own
        self.groups: dict[str, dict[str, Any]] = {group: {**own, **given} for group, given in _checked(groups).items()}
        self._warned: set[str] = set()
        self.template = self.make()
        for group in self.groups:
            self.make(group)

    def keywords(self, group: str | None) -> dict[str, Any]:
        """Return the keywords of a group's jobs; raises ArgumentError if there is no such group."""
        if group is None:
            return self.own
        if group not in self.groups:
            raise ArgumentError(f"there is no group {group!r}", f"there are: {', '.join(self.groups) or 'none'}")
        return self.groups[group]

    def make(
        self, group: str | None = None, address: str = NO_ADDRESS, candidates: Sequence[str] = (), **given: Any
    ) -> Job:
        """Return a job that is not submitted.

        address:    the scheduler's
        candidates: its addresses that the job is to try, in this order
        given:      keywords that count before those of the group
        """
        with once(self._warned):
            job = self.kind(address, **{"name": "dummy-name", **self.keywords(group), **given})
        job.spec = dataclasses.replace(job.spec, candidates=tuple(candidates))
        return job

    def spec(self, group: str | None) -> dict[str, Any]:
        """Return Dask's specification of a job of a group."""
        spec: dict[str, Any] = {"cls": self.kind, "options": self.keywords(group), "of": group}
        suffixes = self.make(group).spec.suffixes
        if suffixes != [""]:
            spec["group"] = suffixes
        return spec


def _checked(groups: Any) -> Mapping[str, Mapping[str, Any]]:
    found = {} if groups is None else groups
    if not isinstance(found, Mapping) or not all(isinstance(each, Mapping) for each in found.values()):
        raise ArgumentError(f"groups is {groups!r}", "a mapping is needed, such as {'large': {'memory': '100GB'}}")
    return found


def class_of_jobs(found: object, owner: str) -> type[Job]:
    """Return the class of a cluster's jobs; raises ArgumentError if it is none.

    owner: name of the cluster class
    """
    if found is None:
        raise ArgumentError(
            f"no Job type is known: the class variable job_cls is not set in {owner}",
            "use SLURMCluster, PBSCluster, ..., set job_cls in the derived class, or pass job_cls=",
        )
    if not isinstance(found, type) or not issubclass(found, Job):
        raise ArgumentError(
            f"job_cls is {found!r}", "derive the class of the jobs from one of mpidask.jobqueue, such as SLURMJob"
        )
    return found
