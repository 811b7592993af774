"""Marks of the scheduler and of workers for --timeline: without it there are no such plugins."""

from __future__ import annotations

import os
from typing import Any

from distributed import Scheduler, SchedulerPlugin, Worker, WorkerPlugin
from tornado.ioloop import PeriodicCallback

from mpidask.launch.watchdog import NOTE, OTHERS, TIMELINE, mark, time_process

__all__ = ["SchedulerMarks", "WorkerMarks", "scheduler_marks", "worker_environ", "worker_marks"]

_NAME = "mpidask-timeline"


def scheduler_marks() -> list[SchedulerPlugin]:
    """Return what a scheduler of this process is to have for the timeline."""
    return [SchedulerMarks()] if os.environ.get(TIMELINE) else []


def worker_marks(name: object, *, nanny: bool) -> tuple[WorkerPlugin, ...]:
    """Return what a worker is to have for the timeline.

    name:  its own
    nanny: whether it has a process of its own
    """
    return (WorkerMarks(f"worker {name}" if nanny else ""),) if os.environ.get(TIMELINE) else ()


def worker_environ(rank: int) -> dict[str, str]:
    """Return variables for the processes of a rank's workers, by which they know where their marks belong."""
    _, _, part = os.environ.get(TIMELINE, "").partition(":")
    return {TIMELINE: f"{rank}:{part}"} if part else {}


class SchedulerMarks(SchedulerPlugin):
    """Notes who joins, and the first task that is done."""

    name = _NAME

    def __init__(self) -> None:
        self._is_first = True

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:
        """Note that a worker is registered."""
        mark(f"worker {scheduler.workers[worker].name} is registered", NOTE)

    def add_client(self, scheduler: Scheduler, client: str) -> None:
        """Note that a client is there."""
        mark("a client is connected", NOTE)

    def transition(self, key: Any, start: Any, finish: Any, *args: Any, **keywords: Any) -> None:
        """Note the first result."""
        if self._is_first and finish == "memory":
            self._is_first = False
            mark("the first task is done", NOTE)


class WorkerMarks(WorkerPlugin):
    """Marks what a worker does until it is registered, and when it closes."""

    name = _NAME

    def __init__(self, process: str) -> None:
        """Prepare it; process: what its process is called, "" where it is in that of its rank."""
        self._process = process

    def setup(self, worker: Worker) -> None:
        """Mark that it listens; it is about to register with the scheduler."""
        if self._process:
            time_process(self._process, last=True)
        mark("fork and listen")
        callbacks: dict[str, Any] = worker.periodic_callbacks

        def registered() -> None:  # which starts these
            callbacks.pop(_NAME).stop()
            mark("register with the scheduler")

        callbacks[_NAME] = PeriodicCallback(registered, 1)

    def teardown(self, worker: Worker) -> None:
        """Mark that it is about to close."""
        mark("wait for tasks, and compute them", OTHERS)
