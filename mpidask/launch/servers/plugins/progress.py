"""Keeps the run directory's progress file up to date, beside the scheduler."""

from __future__ import annotations

import dataclasses
import threading

from distributed import Scheduler, SchedulerPlugin

from mpidask.run_directory import Progress

__all__ = ["ProgressWriter"]

_BETWEEN = 1.0  # s between two writes
_RETRY = 10.0  # s after one that failed: a full disk, a directory that is gone


class ProgressWriter(SchedulerPlugin):
    """Writes how many workers are up, whenever that changes.

    In a thread of its own: a file system that hangs must not hold up the scheduler.
    """

    name = "mpidask-progress"

    def __init__(self, directory: str, progress: Progress) -> None:
        self._directory, self._progress = directory, progress
        self._changed, self._closed = threading.Event(), threading.Event()

    async def start(self, scheduler: Scheduler) -> None:
        """Write for the first time."""
        self._changed.set()
        threading.Thread(target=self._write_changes, name="mpidask recorder", daemon=True).start()

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:
        """Take note of a worker that is up."""
        self._note(len(scheduler.workers))

    def remove_worker(self, scheduler: Scheduler, worker: str, **_: object) -> None:
        """Take note of a worker that is gone."""
        self._note(len(scheduler.workers))

    async def before_close(self) -> None:
        """End the thread."""
        self._closed.set()
        self._changed.set()

    def _note(self, workers: int) -> None:
        self._progress = dataclasses.replace(self._progress, workers=workers)
        self._changed.set()

    def _write_changes(self) -> None:
        pause = 0.0
        while self._changed.wait() and not self._closed.wait(pause):
            self._changed.clear()
            pause = _BETWEEN
            try:
                self._progress.write(self._directory)
            except OSError:
                self._changed.set()
                pause = _RETRY
