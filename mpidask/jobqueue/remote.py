"""The scheduler in a job of its own, for login nodes that kill processes: this process only submits and connects."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from distributed.core import Status
from distributed.deploy.spec import ProcessInterface

from mpidask.errors import ArgumentError, BatchError
from mpidask.jobqueue.report import obituary

if TYPE_CHECKING:
    from mpidask.jobqueue.job import Job
    from mpidask.jobqueue.keys import KeyFiles

__all__ = ["SchedulerJob"]

logger = logging.getLogger("mpidask.jobqueue")

_GLANCE = 0.2  # s between two looks for the scheduler's file
_IDLE = "3600s"  # a scheduler that nobody uses any more ends by itself

#: Options of Dask's scheduler -> of its command.
_WORDS = {"host": "--host", "port": "--port", "interface": "--interface", "dashboard_address": "--dashboard-address"}


class SchedulerJob(ProcessInterface):
    """Dask's scheduler in a batch job.

    job:     the job
    options: arguments of the scheduler
    keys:    the cluster's keys
    """

    def __init__(self, job: Job, options: Mapping[str, Any], keys: KeyFiles) -> None:
        super().__init__()
        unknown = [name for name in options if name not in (*_WORDS, "protocol", "security")]
        if unknown:
            raise ArgumentError(
                f"scheduler_options {', '.join(unknown)} cannot be given to a scheduler in a job of its own",
                f"there are: {', '.join([*_WORDS, 'protocol'])}",
            )
        self.job = job
        self.options = options
        self.keys = keys
        self.address = ""

    async def start(self) -> None:
        """Submit the job and wait until the scheduler is up; raises BatchError if it never will be."""
        job = self.job
        assert job.dispatcher is not None
        file = job.dispatcher.holding.directory / "scheduler.json"
        job.description = dataclasses.replace(job.description, command_line=self._command(str(file)))
        await job.dispatcher.submit([job])
        said = None
        while not file.exists():
            await job.dispatcher.look([job])
            if job.standing.final or job.exited is not None:
                raise BatchError(f"the scheduler's {obituary(job, tail=True)}", "see its last words")
            if (reason := job.standing.reason) != said:
                said = reason
                logger.warning("the scheduler's job %s is %s: %s", job.id, job.standing.state.value, reason)
            for _ in range(15):
                if file.exists():
                    break
                await asyncio.sleep(_GLANCE)
        self.address = json.loads(file.read_text())["address"]
        await super().start()

    def _command(self, file: str) -> str:
        words = [self.job.description.keywords["python"], "-m", "distributed.cli.dask_scheduler"]
        words += ["--scheduler-file", file, "--idle-timeout", _IDLE]
        given = {"port": 0, **self.options}
        for name, option in _WORDS.items():
            if given.get(name) is not None:
                words += [option, given[name]]
        protocol = given.get("protocol")
        words += ["--protocol", str(protocol).removesuffix("://")] if protocol else []
        return shlex.join(map(str, [*words, *self.keys.arguments("scheduler")]))

    async def close(self) -> None:
        """Cancel the job; the scheduler has been told to end before."""
        assert self.job.dispatcher is not None
        self.job.arrived_at = self.job.arrived_at or 0.0  # it came up: it may end by itself
        await self.job.dispatcher.cancel([self.job], 5.0)
        self.status = Status.closed
        await super().close()
