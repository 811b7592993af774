"""Why a worker died, in one line: what its nanny saw and what the scheduler knows, brought together."""

from __future__ import annotations

import signal
import sys
from typing import Any

from distributed import Scheduler, SchedulerPlugin

__all__ = ["EXIT_TOPIC", "Postmortem", "describe_exit"]

#: The nanny logs a worker's exit to the scheduler under this topic.
EXIT_TOPIC = "mpidask-worker-exit"

_MEMORY_TOPIC = "worker-restart-memory"  # Dask's nanny: memory at the termination threshold
_WAIT = 0.5  # s for the scheduler to notice as well


def describe_exit(exitcode: int, *, memory: int | None = None, limit: int | None = None, oom: bool = False) -> str:
    """Return why a process ended.

    exitcode: negative: minus the signal's number
    memory:   bytes in use when its nanny ended it for that, None if it did not
    oom:      whether the kernel killed something for want of memory meanwhile
    """
    if memory is not None:
        of = f" of {limit / 2**30:.2f} GiB" if limit else ""
        return f"it used {memory / 2**30:.2f} GiB{of} of memory"
    if oom and exitcode == -signal.SIGKILL:
        return "killed by the kernel: out of memory"
    if exitcode >= 0:
        return f"exit status {exitcode}"
    try:
        return f"signal {-exitcode} ({signal.Signals(-exitcode).name})"
    except ValueError:
        return f"signal {-exitcode}"


class Postmortem(SchedulerPlugin):
    """Watches the scheduler's event log and writes one line per dead worker to stderr."""

    name = "mpidask-postmortem"

    def __init__(self) -> None:
        self._tasks: dict[str, list[str]] = {}
        self._memory: dict[str, int] = {}
        self._scheduler: Scheduler | None = None

    async def start(self, scheduler: Scheduler) -> None:
        """Remember the scheduler."""
        self._scheduler = scheduler

    def log_event(self, topic: str, msg: Any) -> None:
        """Take note of an event."""
        if topic == EXIT_TOPIC:
            # Its tasks are known as soon as the scheduler has removed the worker, which may come later.
            assert self._scheduler is not None
            self._scheduler._ongoing_background_tasks.call_later(_WAIT, self._report, msg)
        elif topic == _MEMORY_TOPIC:
            self._memory[msg["worker"]] = msg["rss"]
        elif topic == "all" and isinstance(msg, dict) and msg.get("action") == "remove-worker":
            self._tasks[msg["worker"]] = sorted(map(str, msg["processing-tasks"]))

    async def _report(self, exit_: dict[str, Any]) -> None:
        tasks = self._tasks.pop(exit_["worker"], [])
        memory = self._memory.pop(exit_["worker"], None)
        reason = describe_exit(exit_["exitcode"], memory=memory, limit=exit_["limit"], oom=exit_["oom"])
        sys.stderr.write(
            f"mpidask: worker {exit_['name']} on {exit_['host']} died: {reason}; it is started again{_with(tasks)}\n"
        )
        sys.stderr.flush()


def _with(tasks: list[str]) -> str:
    if not tasks:
        return ""
    names = ", ".join(tasks[:3]) + (f" and {len(tasks) - 3} more" if len(tasks) > 3 else "")
    return f"; tasks it had: {names}"
