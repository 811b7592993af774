"""Docstrings and signatures of the cluster classes, with the keywords of their jobs."""

from __future__ import annotations

import inspect
from typing import TypeVar

from mpidask import docstrings
from mpidask.jobqueue.cluster.job_queue_cluster import JobQueueCluster
from mpidask.jobqueue.keywords.documentation import entries, keywords

__all__ = ["documented"]

_Class = TypeVar("_Class", bound=type[JobQueueCluster])


def documented(kind: _Class) -> _Class:
    """Give the cluster class of a batch system a docstring and a signature with the keywords of its jobs."""
    assert kind.job_cls is not None
    system = kind.job_cls.native_name()
    kind.__doc__ = _docstring(kind, system)
    kind.__signature__ = _signature(kind, system)
    return kind


def _docstring(kind: type[JobQueueCluster], system: str) -> str:
    """Return its own line, what all cluster classes take, and the keywords of its jobs."""
    own, general = inspect.cleandoc(kind.__doc__ or ""), inspect.cleandoc(JobQueueCluster.__doc__ or "")
    text = "\n\n".join([own, *general.split("\n\n")[1:]])
    section = ["Other Parameters", "----------------", *entries(system), ""]
    return docstrings.with_entries(text, section, before="Raises")


def _signature(kind: type[JobQueueCluster], system: str) -> inspect.Signature:
    """Return the signature in which each keyword of the jobs stands for itself."""
    general = inspect.signature(kind.__init__)
    _, *own = general.parameters.values()
    return docstrings.with_keywords(general.replace(parameters=own), keywords(system))
