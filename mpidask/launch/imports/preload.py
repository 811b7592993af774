"""The modules that servers import, of which much only when it is used first."""

from __future__ import annotations

__all__ = ["NAMES"]

#: What nannies and workers import, much of it only when they start.
NAMES = (
    "distributed",
    "distributed.nanny",
    "distributed.worker",
    "distributed.http.health",
    "distributed.http.prometheus",
    "distributed.http.worker",
    "email.policy",
    "mpidask.launch.servers.hosted",
    "mpidask.security.in_memory",
    "multiprocessing.popen_forkserver",
    "multiprocessing.queues",
    "multiprocessing.resource_sharer",
    "multiprocessing.synchronize",
    "numpy.random",
    "secrets",
    "tornado.httpserver",
    "tornado.platform.asyncio",
)
