"""The scheduler in a job of its own, for login nodes that kill processes.

This process only submits and connects.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distributed.core import Status
from distributed.deploy.spec import ProcessInterface

from mpidask.addresses import reachability
from mpidask.batch.job_state import JobState
from mpidask.batch.leases import KEY_FILES
from mpidask.errors import ArgumentError, BatchError, linked
from mpidask.files import is_there, replace_json
from mpidask.jobqueue.cluster.job_factory import JobFactory
from mpidask.jobqueue.cluster.report import exit_summary
from mpidask.jobqueue.jobs.dispatcher import Dispatcher
from mpidask.jobqueue.jobs.job import Job
from mpidask.jobqueue.jobs.keys import KeyFiles, tls_files
from mpidask.jobqueue.jobs.worker_command import in_container
from mpidask.ports.port_range import PortRange

__all__ = ["SchedulerJob", "make_job", "spec"]

logger = logging.getLogger("mpidask.jobqueue")

_GLANCE = 0.2  # s between two looks for the scheduler's file
_IDLE = "1 h"  # a scheduler that nobody uses any more ends by itself

#: Arguments of Dask's scheduler that can be written down.
_KNOWN = ("host", "port", "interface", "dashboard_address", "http_prefix", "protocol")


class SchedulerJob(ProcessInterface):
    """Dask's scheduler in a batch job.

    job:     the job
    options: arguments of the scheduler
    keys:    the cluster's keys
    gated:   whether its dashboard is for those alone who know the prefix
    ports:   those that may be taken where the options say none, None for all
    """

    def __init__(
        self, job: Job, options: Mapping[str, Any], keys: KeyFiles, *, gated: bool, ports: PortRange | None
    ) -> None:
        super().__init__()
        unknown = [name for name in options if name not in (*_KNOWN, "security")]
        if unknown:
            raise ArgumentError(
                f"scheduler_options {', '.join(unknown)} cannot be given to a scheduler in a job of its own",
                f"there are: {', '.join(_KNOWN)}",
            )
        self.job = job
        self.options = options
        self.keys = keys
        self.gated = gated
        self.ports = ports
        self.address = ""
        self.everywhere: list[str] = []
        self.host = ""

    async def start(self) -> None:
        """Submit the job and wait until the scheduler is up; raises BatchError if it never will be."""
        job = self.job
        assert job.dispatcher is not None
        file = job.dispatcher.lease.directory / "scheduler.json"
        job.spec = dataclasses.replace(job.spec, command_line=self._command(file))
        await job.dispatcher.submit([job])
        said = None
        while not is_there(str(file)):
            await job.dispatcher.look([job])
            if job.standing.final or job.exited is not None:
                raise BatchError(f"the scheduler's {exit_summary(job, tail=True)}", "see its last words")
            if (reason := job.standing.reason) != said:
                said = reason
                logger.warning(
                    "%s",
                    linked(
                        f"the scheduler's job {job.id} is {job.standing.state.value}: {reason}", "jobs-of-a-cluster"
                    ),
                )
            for _ in range(15):
                if is_there(str(file)):
                    break
                await asyncio.sleep(_GLANCE)
        job.arrived_at = time.time()
        job.standing = dataclasses.replace(job.standing, state=JobState.RUNNING, reason=None)
        told = json.loads(file.read_text())
        self.host, self.everywhere = told["host"], told["everywhere"]
        self.address = await asyncio.to_thread(self._reached, told["address"])
        logger.warning("%s", linked(self.note, "jobs-of-a-cluster"))
        await super().start()

    def _reached(self, shown: str) -> str:
        """Return the address at which this process reaches the scheduler; raises StartupError if there is none.

        shown: its own choice, which is not tried where there is no other
        """
        if len(self.everywhere) == 1:
            return shown
        security = self.keys.security
        context = None if security is None else security.get_connection_args("worker")["ssl_context"]
        return reachability.first_reached(self.everywhere, context).address

    @property
    def note(self) -> str:
        """Where the scheduler is, and when it ends by itself."""
        return f"the scheduler is in job {self.job.id} on {self.host}; without tasks it ends after {_IDLE}"

    def _command(self, file: Path) -> str:
        """Write down what the scheduler is told; return the command that reads it."""
        security = self.keys.security
        files = tls_files(security, "scheduler") if security is not None else {}
        options = {name: value for name, value in self.options.items() if name != "security"}
        told = {
            "options": {"port": 0, "idle_timeout": _IDLE, **options},
            "security": {f"tls_{'' if key == 'ca_file' else 'scheduler_'}{key}": path for key, path in files.items()},
            "gated": self.gated,
            "ports": None if self.ports is None else str(self.ports),
            "file": str(file),
        }
        arguments = file.with_name(f"{KEY_FILES}scheduler.json")
        replace_json(str(arguments), told)
        python = self.job.spec.keywords["python"]  # for the shell: it may be several words
        command = f"{python} {shlex.join(['-m', 'mpidask.jobqueue.cluster.scheduler_main', str(arguments)])}"
        if self.job.spec.keywords["container"] is None:
            return command
        keys = [str(Path(path).parent) for path in files.values()]
        return f"{in_container(self.job.spec, str(file.parent), *keys)} {command}"

    async def close(self) -> None:
        """Cancel the job; if it came up, the scheduler has been told to end before."""
        if self.status == Status.closed:
            return
        assert self.job.dispatcher is not None
        await self.job.dispatcher.cancel([self.job], 5.0)
        self.status = Status.closed
        await super().close()


def make_job(wanted: Mapping[str, Any] | bool, factory: JobFactory, dispatcher: Dispatcher) -> Job:  # noqa: FBT001
    """Return the scheduler's job, which is not submitted; raises ArgumentError if its keywords cannot be used.

    wanted: keywords that differ from those of the workers' jobs; True for none
    """
    if not isinstance(wanted, Mapping | bool):
        raise ArgumentError(f"remote_scheduler is {wanted!r}", "True, False or a mapping of keywords is needed")
    own = dict(wanted) if isinstance(wanted, Mapping) else {}
    return factory.make(
        None, "", name="scheduler", dispatcher=dispatcher, number=-1, **{"nodes": 1, "ranks_per_node": 1, **own}
    )


def spec(
    job: Job, arguments: Mapping[str, Any], keys: KeyFiles, *, gated: bool, ports: PortRange | None
) -> dict[str, Any]:
    """Return Dask's specification of a scheduler in a job; arguments as for `SchedulerJob`."""
    options = {"job": job, "options": arguments, "keys": keys, "gated": gated, "ports": ports}
    return {"cls": SchedulerJob, "options": options}
